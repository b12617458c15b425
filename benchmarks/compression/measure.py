"""Judge and time artifacts: a child process that reads one request as JSON on stdin and answers on stdout.

``judge``: every sample of an evaluation npz through the artifact, beside the teacher's answers that lie in it.
``references``: its answers, written down as an evaluation npz. ``pair``: two artifacts in turns, one thread, batch 1,
by the loop that devices use; what happens to the machine happens to both, so their ratio is steadier than each alone.
No conversion of layouts is timed: each runs in the layout of its own format.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.compression.paired import Paired
from benchmarks.rig.machine import QUIET_PERCENT
from muster_bench.dataset import columns, load_arrays, split
from muster_bench.evaluate import Answers, collect, figures
from muster_bench.face import Face
from muster_bench.slowdown import Slowdown
from muster_bench.tiers import RunLength
from muster_bench.timed_loop import run_loop
from muster_compression.artifact import write_npz
from muster_compression.face import bind, open_artifact
from muster_compression.judge import reference_outputs
from muster_devices.pressure import PressureReading, over_a_run, read_pressure
from muster_protos.model import Accuracy, Format, Pressure, Signature

_FEEDS = 16
_SETTLE_S = 10.0
_ROUND = RunLength(min_queries=30, min_duration_s=0.15, warmup_min_s=0.03, warmup_cap_s=0.3)
_WARM_UP = RunLength(min_queries=3, min_duration_s=0.0, warmup_min_s=0.3, warmup_cap_s=3.0)


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact and the face that it wears."""

    path: Path
    format: Format
    signature: Signature


@dataclass(frozen=True, slots=True)
class Judged:
    """Accuracy on all samples, and against the teacher sample by sample; None = it has not answered these."""

    accuracy: Accuracy
    paired: Paired | None = None


@dataclass(frozen=True, slots=True)
class PairLatency:
    """Medians in ms; the ratio is the median over the rounds, with the lowest and highest that 95 % of rounds keep."""

    first_ms: float
    second_ms: float
    ratio: float  # first / second: how many times faster the second is
    ratio_low: float
    ratio_high: float
    rounds: int
    pressure: Pressure

    @property
    def cpu_percent(self) -> float | None:
        """CPU pressure, the higher of before and after; None = the kernel does not tell."""
        known = [value for value in (self.pressure.cpu_before, self.pressure.cpu_after) if value is not None]
        return max(known) if known else None

    @property
    def is_noisy(self) -> bool:
        """Whether others wanted the CPU meanwhile; where the kernel does not tell, nobody knows that they did not."""
        return self.cpu_percent is None or self.cpu_percent > QUIET_PERCENT


def main() -> int:
    """One request."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    request = json.loads(sys.stdin.read())
    subjects = [TypeAdapter(Subject).validate_python(item) for item in request["subjects"]]
    samples = Path(request["samples"])
    answer: Any
    match request["verb"]:
        case "judge":
            answer = TypeAdapter(Judged).dump_python(_judge(subjects[0], samples), mode="json")
        case "references":
            answer = str(_references(subjects[0], samples, Path(request["out"])))
        case "pair":
            found = _pair(subjects[0], subjects[1], samples, int(request["rounds"]))
            answer = TypeAdapter(PairLatency).dump_python(found, mode="json")
        case verb:
            raise ValueError(f"expected judge, references or pair, found {verb!r}")
    json.dump(answer, answers)
    answers.close()
    return 0


def _open(subject: Subject) -> Face:
    session = open_artifact(subject.path, subject.format)
    return Face(session, subject.signature, bind(session, subject.signature))


def _judge(subject: Subject, samples: Path) -> Judged:
    face = _open(subject)
    try:
        answers = collect(face, load_arrays(samples))
    finally:
        face.close()
    return Judged(figures(subject.signature, answers), _paired(answers))


def _paired(answers: Answers) -> Paired | None:
    """Of classes; the first output has their scores."""
    if answers.references is None or answers.labels is None:
        return None
    own, teacher = (
        next(iter(scores.values())).argmax(1) == answers.labels for scores in (answers.outputs, answers.references)
    )
    return Paired(len(own), int(teacher.sum()), int((teacher & ~own).sum()), int((own & ~teacher).sum()))


def _references(subject: Subject, samples: Path, out: Path) -> Path:
    arrays = load_arrays(samples)
    inputs = {spec.name: arrays[f"x_{spec.name}"] for spec in subject.signature.inputs}
    face = _open(subject)
    try:
        found = reference_outputs(face, inputs, subject.path.name)
    finally:
        face.close()
    return write_npz(out, {**arrays, **{f"ref_{name}": values for name, values in found.items()}})


def _pair(first: Subject, second: Subject, samples: Path, rounds: int) -> PairLatency:
    faces = [_open(first), _open(second)]
    try:
        runs = [face.bind(_feeds(samples, face)) for face in faces]
        for bound in runs:
            run_loop(bound, _WARM_UP, Slowdown())
        before = _settled()
        medians: list[list[float]] = [[], []]
        for index in range(rounds):
            for which in (0, 1) if index % 2 == 0 else (1, 0):
                medians[which].append(statistics.median(run_loop(runs[which], _ROUND, Slowdown()).latencies_ns))
        pressure = over_a_run(before, read_pressure())
    finally:
        for face in faces:
            face.close()
    ratios = sorted(a / b for a, b in zip(*medians, strict=True))
    outside = max(0, int(0.025 * len(ratios)))
    return PairLatency(
        first_ms=statistics.median(medians[0]) / 1e6,
        second_ms=statistics.median(medians[1]) / 1e6,
        ratio=statistics.median(ratios),
        ratio_low=ratios[outside],
        ratio_high=ratios[len(ratios) - 1 - outside],
        rounds=rounds,
        pressure=pressure,
    )


def _settled() -> PressureReading:
    """The machine once it is quiet, or as it is after a while: what trained before may still be felt."""
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        found = read_pressure()
        if found.cpu_percent is None or found.cpu_percent <= QUIET_PERCENT or time.monotonic() > deadline_s:
            return found
        time.sleep(1.0)


def _feeds(samples: Path, face: Face) -> list[dict[str, np.ndarray]]:
    arrays = load_arrays(samples)
    few = {name: values[:_FEEDS] for name, values in columns(arrays, "x_", face.signature.inputs).items()}
    return [{name: np.array(values) for name, values in feed.items()} for feed in split(few, face.signature.inputs)]


if __name__ == "__main__":
    sys.exit(main())
