"""Which runtimes really infer here: each is proved in a child of its own, so that a broken one harms nobody."""

from __future__ import annotations

from muster_bench.converse import run_child
from muster_bench.errors import ChildError
from muster_bench.limits import ChildLimits
from muster_protos.model import Format, RuntimeSupport

_CANDIDATES = (
    ("onnxruntime", Format.ONNX, ("cpu", "cuda", "tensorrt")),
    ("litert", Format.TFLITE, ("xnnpack", "cpu")),
)
_LIMITS = ChildLimits(wall_s=30.0)


def probe_runtimes(limits: ChildLimits = _LIMITS) -> tuple[RuntimeSupport, ...]:
    """Every runtime that Muster knows, with the providers that gave a right answer, or the reason why none did."""
    return tuple(_probe(name, kind, providers, limits) for name, kind, providers in _CANDIDATES)


def _probe(name: str, kind: Format, providers: tuple[str, ...], limits: ChildLimits) -> RuntimeSupport:
    proved, version, reason = [], "", ""
    for provider in providers:
        try:
            result = run_child("probe", {"runtime": name, "provider": provider, "format": kind.value}, limits)
        except ChildError as error:
            reason = reason or str(error)
            if error.kind == "MissingExtraError":
                break
            continue
        proved.append(provider)
        version = str(result["version"])
    return RuntimeSupport(name, version, tuple(proved), (kind.value,), "" if proved else reason)
