"""Ask the measuring child, and remember its answers by the bytes that they are about."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from benchmarks.compression import measure
from benchmarks.compression.child import ROOT, run_child
from benchmarks.compression.measure import Judged, PairLatency, Subject
from benchmarks.rig.machine import cpu_model
from muster_compression.artifact import ref_of, write_bytes
from muster_compression.code_identity import imported_files

_WALL_S = 900.0
_ROUNDS = 15
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Memory:
    """Answers on disk. Latencies are of one machine, so the folder is not for carrying around."""

    folder: Path
    rounds: int = _ROUNDS

    def judged(self, subject: Subject, samples: Path) -> Judged:
        """On every sample, beside the references in ``samples``."""
        return self._remembered("judge", Judged, [subject], samples, {})

    def pair(self, teacher: Subject, variant: Subject, samples: Path) -> PairLatency:
        """How many times faster ``variant`` is; measured again when the last time was on a busy machine."""
        return self._remembered("pair", PairLatency, [teacher, variant], samples, {"rounds": self.rounds})

    def _remembered(
        self, verb: str, kind: type[T], subjects: Sequence[Subject], samples: Path, more: dict[str, object]
    ) -> T:
        shas = [ref_of(path).sha256 for path in (*(item.path for item in subjects), samples)]
        faces = [repr(item.signature) for item in subjects]
        known = json.dumps([verb, shas, faces, more, _machine(), _code_sha256()])
        name = hashlib.sha256(known.encode()).hexdigest()[:32]
        path = self.folder / f"{verb}-{name}.json"
        if path.is_file():
            return TypeAdapter(kind).validate_json(path.read_bytes())
        answer = asked(verb, subjects, samples, more)
        found = TypeAdapter(kind).validate_python(answer)
        if not (isinstance(found, PairLatency) and found.is_noisy):
            write_bytes(path, json.dumps(answer).encode())
        return found


def write_references(subject: Subject, samples: Path, out: Path) -> Path:
    """``samples`` with the answers of ``subject`` as references."""
    asked("references", [subject], samples, {"out": str(out)})
    return out


def asked(verb: str, subjects: Sequence[Subject], samples: Path, more: dict[str, object]) -> Any:
    """What the child answers.

    Raises:
        PermanentError: it died, with its last words, or took too long.
    """
    dumped = [TypeAdapter(Subject).dump_python(item, mode="json") for item in subjects]
    request = {"verb": verb, "subjects": dumped, "samples": str(samples), **more}
    return json.loads(run_child("measure", request, _WALL_S, f"{verb} of {subjects[-1].path.name}"))


@functools.cache
def _code_sha256() -> str:
    """Of every file of ours that measuring runs: this benchmark's, the loop, runtimes and metrics of devices."""
    start = Path(measure.__file__)
    files = {file for package in ("", "devices", "compression") for file in imported_files(start, ROOT / package)}
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def _machine() -> list[str]:
    """What a latency belongs to besides the bytes."""
    from importlib.metadata import version

    return [os.uname().nodename, cpu_model(), version("onnxruntime"), version("ai-edge-litert")]
