"""Is this file a model that can be run here? Parent side: the file is only ever opened by a child with limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from muster_bench.converse import Json, run_child
from muster_bench.errors import ChildError
from muster_bench.limits import MIB, ChildLimits
from muster_protos.errors import NotFoundError
from muster_protos.model import TensorSpec

# 15 s is promised to the caller; starting Python and the command line around it take the rest.
CHECK_LIMITS = ChildLimits(wall_s=10.0, cpu_s=60, memory_bytes=3072 * MIB)


class Verdict(str, Enum):
    """What becomes of the file."""

    ACCEPTED = "accepted"  # one real inference gave finite outputs of the declared shapes
    REJECTED = "rejected"  # broken, or hostile
    UNSUPPORTED = "unsupported"  # nothing wrong with it, but nothing here executes it


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """The verdict with what is known of the file; ``reason`` is empty when it is accepted."""

    verdict: Verdict
    format: str  # "onnx", "tflite", another format's name, "unknown"
    reason: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    precision: str = ""


@dataclass(slots=True)
class _Facts:
    """What the child said before it ended, however it did."""

    known: dict[str, Any] = field(default_factory=dict)

    def take(self, message: Json) -> None:
        if "fact" in message:
            self.known.update(message["fact"])


def check_model(path: Path, limits: ChildLimits = CHECK_LIMITS) -> ModelCheck:
    """Judge the file at ``path`` by its content, never by its name.

    A child reads its structure, loads it with the runtime that takes its format, and makes one inference on generated
    inputs (free dimensions 1). A child that crashes, hangs or runs out of memory is a rejection with its signal named.
    Limits that the caller leaves open are those of ``CHECK_LIMITS``, and none is wider in time.

    Raises:
        NotFoundError: there is no such file.
    """
    if not path.exists():
        raise NotFoundError(f"expected a model file, found nothing at {path}")
    if not path.is_file():
        return ModelCheck(Verdict.REJECTED, "unknown", f"expected a file, found a folder or device: {path.name}")
    facts = _Facts()
    try:
        result = run_child("check", {"path": str(path.absolute())}, _tightened(limits), on_message=facts.take)
    except ChildError as error:
        return _failed(facts.known, error)
    return _check(Verdict(result["verdict"]), facts.known, str(result["reason"]))


def _tightened(limits: ChildLimits) -> ChildLimits:
    return ChildLimits(
        wall_s=min(limits.wall_s, CHECK_LIMITS.wall_s),
        cpu_s=limits.cpu_s or CHECK_LIMITS.cpu_s,
        memory_bytes=limits.memory_bytes or CHECK_LIMITS.memory_bytes,
    )


def _failed(known: Mapping[str, Any], error: ChildError) -> ModelCheck:
    unsupported = error.kind in ("NotExecutableError", "MissingExtraError")
    return _check(Verdict.UNSUPPORTED if unsupported else Verdict.REJECTED, known, str(error))


def _check(verdict: Verdict, known: Mapping[str, Any], reason: str) -> ModelCheck:
    return ModelCheck(
        verdict,
        str(known.get("format", "unknown")),
        reason,
        tuple(_spec(item) for item in known.get("inputs", ())),
        tuple(_spec(item) for item in known.get("outputs", ())),
        str(known.get("precision", "")),
    )


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], item["dtype"], tuple(item["shape"]), tuple(item["dim_names"]))
