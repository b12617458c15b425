"""Puts what a child made onto the shelf: files by content, manifests signed."""

from __future__ import annotations

from muster_controller.core.entities import Variant
from muster_controller.ports import ArtifactStore
from muster_controller.service.context import Context
from muster_controller.service.workshop import MadeVariant, Product
from muster_protos import codec
from muster_protos.envelope import VARIANT_MANIFEST
from muster_protos.errors import InvalidInputError
from muster_protos.model import ArtifactRef


def store_files(artifacts: ArtifactStore, product: Product) -> None:
    """Copy the product's files in and check that every artifact that its manifests name is there.

    Raises:
        InvalidInputError: a manifest names an artifact that the child did not leave, or with another size.
    """
    stored = dict(artifacts.put(path) for path in product.files)
    for made in product.variants:
        manifest = made.manifest
        for ref in (manifest.artifact, manifest.golden, manifest.evaluation, manifest.calibration):
            if ref is not None:
                _check(artifacts, stored, ref, manifest.variant_id)


def sign_variant(context: Context, made: MadeVariant) -> Variant:
    """The manifest with the fleet's signature over its exact bytes."""
    envelope = context.authority.signer.sign(VARIANT_MANIFEST, codec.encode(made.manifest))
    return Variant(made.manifest, envelope, made.is_kept, made.dropped_reason)


def _check(artifacts: ArtifactStore, stored: dict[str, int], ref: ArtifactRef, variant: str) -> None:
    size_bytes = stored[ref.sha256] if ref.sha256 in stored else artifacts.size(ref.sha256)
    if size_bytes != ref.size_bytes:
        raise InvalidInputError(
            f"expected {ref.size_bytes} bytes of artifact {ref.sha256[:12]} of {variant}, found {size_bytes}"
        )
