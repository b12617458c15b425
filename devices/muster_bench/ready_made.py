"""A manifest for a bare file, so that it can be measured before it is anybody's variant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from muster_bench.binding import identity_binding
from muster_bench.check import Verdict, check_model
from muster_protos.errors import InvalidInputError
from muster_protos.model import ArtifactRef, Format, Signature, VariantManifest


def manifest_of(path: Path) -> VariantManifest:
    """Checked, with the file's own tensors as its signature.

    Raises:
        InvalidInputError: the check does not accept it.
        NotFoundError: there is no such file.
    """
    check = check_model(path)
    if check.verdict is not Verdict.ACCEPTED:
        raise InvalidInputError(f"{path.name} is {check.verdict.value}: {check.reason}")
    signature = Signature(check.inputs, check.outputs)
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return VariantManifest(
        variant_id="file",
        name=path.name,
        artifact=ArtifactRef(digest.hexdigest(), path.stat().st_size),
        format=Format(check.format),
        precision=check.precision,
        signature=signature,
        binding=identity_binding(signature, check.inputs, check.outputs),
    )
