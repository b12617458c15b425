"""What both transports say about the model: metadata, and who may be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from muster_agent.serving.engine import Engine, Ladder
from muster_agent.serving.errors import RefusedError
from muster_agent.serving.tensors import datatype
from muster_protos.errors import NotFoundError
from muster_protos.model import Signature

SERVICE_NAME = "muster"
EXTENSIONS = ("binary_tensor_data",)
VARIANT_PARAMETER = "muster_variant"  # names the variant that answered


@dataclass(frozen=True, slots=True)
class ModelFace:
    """The served model as the protocol describes it."""

    name: str
    version: str
    platform: str
    signature: Signature


def model_face(engine: Engine, name: str, version: str = "") -> ModelFace:
    """The model when it is the one served here.

    Raises:
        NotFoundError: another name or version.
        RefusedError: nothing is served yet.
    """
    ladder = engine.ladder
    if ladder is None:
        raise RefusedError("nothing is served yet", 1.0)
    served = _face(ladder)
    if name != served.name:
        raise NotFoundError(f"expected the model {served.name}, found {name[:80]!r}")
    if version and version != served.version:
        raise NotFoundError(f"expected version {served.version} of {served.name}, found {version[:20]!r}")
    return served


def metadata(face: ModelFace) -> dict[str, object]:
    """The body of ``GET /v2/models/<name>``."""
    return {
        "name": face.name,
        "versions": [face.version],
        "platform": face.platform,
        "inputs": [_tensor(spec.name, datatype(spec), spec.shape) for spec in face.signature.inputs],
        "outputs": [_tensor(spec.name, datatype(spec), spec.shape) for spec in face.signature.outputs],
    }


def _tensor(name: str, kind: str, shape: tuple[int, ...]) -> dict[str, object]:
    return {"name": name, "datatype": kind, "shape": list(shape)}


def _face(ladder: Ladder) -> ModelFace:
    grant = ladder.grant
    version = max((variant.manifest.model_version for variant in grant.variants), default=0)
    active = grant.grant.ladder[ladder.guard.active].configuration
    return ModelFace(grant.model_id, str(version), f"{active.runtime}_{active.provider}", grant.signature)
