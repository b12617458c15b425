"""Every model of a folder goes add -> push -> bench -> select on one device of a running controller.

    muster up                                                     # in another terminal
    python benchmarks/model_zoo.py --folder DIR [--device ID] [--tier quick] [-o json]

Models without data have no accuracy, so the policy lets agreement stand in for it. The exit code is 1 when a model did
not get through, and the line says where it stopped. Models are removed again unless ``--keep`` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import muster
from muster_protos.errors import MusterError

SUFFIXES = (".onnx", ".tflite")
POLICY = """
constraints:
  p95_ms: {max: 10000}
objective: accuracy
allow_agreement: true
apply: manual
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """How far one model came. Latencies are of the chosen configuration on the device."""

    model: str
    stage: str  # "done", or the stage that failed
    chosen: str = ""
    p50_ms: float | None = None
    p95_ms: float | None = None
    peak_memory_mib: float | None = None
    configurations: int = 0
    seconds: float = 0.0
    reason: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all models, print the table, tell by the exit code whether all came through."""
    options = _parser().parse_args(arguments)
    paths = sorted(path for path in options.folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        print(f"error: no {' or '.join(SUFFIXES)} file in {options.folder}", file=sys.stderr)
        return 2
    passages = []
    with muster.connect() as fleet:
        for path in paths:
            passage = _pass(fleet, path, options)
            print(f"{passage.model}: {passage.stage} {passage.chosen or passage.reason}", file=sys.stderr, flush=True)
            passages.append(passage)
    if options.output == "json":
        print(json.dumps([asdict(passage) for passage in passages], indent=2))
    else:
        _print_table(passages)
    return 0 if all(passage.stage == "done" for passage in passages) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="", help="default: the first one that is known")
    parser.add_argument("--tier", default="quick", choices=["demo", "quick", "standard"])
    parser.add_argument("--keep", action="store_true", help="leave the models in the catalogue")
    parser.add_argument("-o", "--output", default="table", choices=["table", "json"])
    return parser


def _pass(fleet: muster.Fleet, path: Path, options: argparse.Namespace) -> Passage:
    started = time.monotonic()
    stage = "add"
    try:
        device = options.device or fleet.devices.list()[0].id
        model = fleet.models.register(path, name=path.stem)
        stage = "push"
        fleet.push(model, devices=[device]).wait()
        stage = "bench"
        records = fleet.bench(model, devices=[device], tier=options.tier).result()
        measured = {record.configuration: record for record in records if record.p50_ms is not None}
        stage = "select"
        plan = fleet.select(model, policy=POLICY, devices=[device])
        plan.check()
        chosen = plan.decision(device).chosen or ""
        best = measured.get(chosen)
        if not options.keep:
            fleet.models.remove(path.stem)
    except MusterError as error:
        return Passage(path.name, stage, seconds=time.monotonic() - started, reason=str(error))
    return Passage(
        path.name,
        "done" if chosen else "select",
        chosen,
        None if best is None else best.p50_ms,
        None if best is None else best.p95_ms,
        None if best is None else best.peak_memory_mib,
        len(measured),
        time.monotonic() - started,
        "" if chosen else "nothing was chosen",
    )


def _print_table(passages: Sequence[Passage]) -> None:
    print(f"{'MODEL':<28} {'STAGE':<7} {'CHOSEN':<52} {'P50 MS':>9} {'P95 MS':>9} {'PEAK MIB':>9} {'OF':>3}")
    for item in passages:
        figures = " ".join(
            f"{'-' if value is None else f'{value:.3f}':>9}"
            for value in (item.p50_ms, item.p95_ms, item.peak_memory_mib)
        )
        print(f"{item.model:<28} {item.stage:<7} {item.chosen or item.reason:<52} {figures} {item.configurations:>3}")


if __name__ == "__main__":
    sys.exit(main())
