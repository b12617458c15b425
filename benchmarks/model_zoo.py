"""Every model of a folder goes check -> add -> push -> bench -> select on this machine, in a fleet made for that.

    python benchmarks/model_zoo.py --folder DIR [--tier demo] [-o json]

It runs `muster up` on free ports with a temporary data folder, this machine as the one device, and stops it at the end.
``--running`` takes the controller that your settings name instead, and removes each model again.

The models come without labels, so nobody knows their accuracy. Each is therefore asked for twice: the policy with the
objective accuracy must be refused, with the reason in the row; the one with the objective latency and a bound on
agreement with the model as it was handed in must choose a configuration. Exit code 1 when a model fails in one of the
two or gets stuck before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import muster
from muster.bench import Record
from muster.fleet import Fleet
from muster.models import Model
from muster_bench.check import Verdict, check_model
from muster_protos.errors import InfeasibleError, InvalidInputError, MusterError, PermanentError

SUFFIXES = (".onnx", ".tflite")
ACCURACY_POLICY = """
constraints:
  p95_ms: {max: 10000}
objective: accuracy
apply: manual
"""
AGREEMENT_POLICY = """
constraints:
  p95_ms: {max: 10000}
  agreement: {min: 0.9}
objective: latency
apply: manual
"""
_START_S = 90.0
_STOP_S = 30.0
_STEP_S = 900.0  # one push, or all benchmarks of one model
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Passage:
    """How far one model came. Latencies and memory are of the chosen configuration, measured on the device."""

    model: str
    verdict: str = ""  # of the check: accepted, rejected, unsupported
    pushed: bool = False  # the device holds and has verified it
    records: int = 0  # configurations with a measured latency
    chosen: str = ""
    reason: str = ""  # why it did not come through
    accuracy_refusal: str = ""  # what the objective accuracy was answered
    agreement: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    peak_memory_mib: float | None = None
    seconds: float = 0.0

    @property
    def is_through(self) -> bool:
        return bool(self.chosen and self.accuracy_refusal and not self.reason)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all models, print the table, tell by the exit code whether all came through."""
    options = _parser().parse_args(arguments)
    paths = sorted(path for path in options.folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        print(f"error: no {' or '.join(SUFFIXES)} file in {options.folder}", file=sys.stderr)
        return 2
    passages = []
    try:
        with muster.connect() if options.running else own_fleet() as fleet:
            device = options.device or _first_device(fleet)
            for path in paths:
                passages.append(passed(fleet, path, device, options.tier, is_kept=not options.running))
                _tell(passages[-1])
    except MusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.output == "json":
        print(json.dumps([asdict(passage) for passage in passages], indent=2))
    else:
        _print_table(passages)
    return 0 if all(passage.is_through for passage in passages) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tier", default="quick", choices=["demo", "quick", "standard"])
    parser.add_argument("--running", action="store_true", help="use the controller of your settings")
    parser.add_argument("--device", default="", help="default: the first one that is known")
    parser.add_argument("-o", "--output", default="table", choices=["table", "json"])
    return parser


@contextmanager
def own_fleet() -> Iterator[Fleet]:
    """A controller with this machine as its device, below a temporary folder; gone at the end.

    Raises:
        PermanentError: it did not come up.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
    with tempfile.TemporaryDirectory(prefix="muster-zoo-") as name:
        data, log = Path(name) / "data", Path(name) / "log"
        ports = ("--port", "0", "--grpc-port", "0", "--join-port", "0")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "muster_controller", "up", "--data", str(data), *ports],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this program, which then ends the controller in order
            )
        try:
            yield from _connected(process, data, log)
        finally:
            _end(process)


def _connected(process: subprocess.Popen[bytes], data: Path, log: Path) -> Iterator[Fleet]:
    deadline, endpoints = time.monotonic() + _START_S, data / "endpoints.json"
    while not endpoints.exists():
        _wait(process, deadline, log, "a controller")
    token = (data / "identity" / "admin-token").read_text().strip()
    with muster.connect(json.loads(endpoints.read_text())["url"], token, data) as fleet:
        while not any(device.is_online for device in fleet.devices):
            _wait(process, deadline, log, "this machine online")
        yield fleet


def _wait(process: subprocess.Popen[bytes], deadline: float, log: Path, what: str) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise PermanentError(f"expected {what} within {_START_S:.0f} s, found: {' / '.join(last) or 'nothing'}")
    time.sleep(_PAUSE_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM: the controller ends its agent, and the agent its children, before it ends."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_device(fleet: Fleet) -> str:
    known = fleet.devices.list()
    if not known:
        raise InvalidInputError("expected at least one device in the fleet, found none")
    return known[0].id


def passed(fleet: Fleet, path: Path, device: str, tier: str, *, is_kept: bool) -> Passage:
    """One model's way; what went wrong is in ``reason``."""
    started = time.monotonic()
    check = check_model(path)
    passage = Passage(path.name, check.verdict.value, reason=check.reason)
    if check.verdict is Verdict.ACCEPTED:
        try:
            model = fleet.models.register(path, name=path.stem)
        except MusterError as error:
            passage = replace(passage, reason=f"add: {error}")
        else:
            passage = _on_the_device(fleet, model, device, tier, passage)
            if not is_kept:
                fleet.models.remove(model.reference)
    return replace(passage, seconds=round(time.monotonic() - started, 1))


def _on_the_device(fleet: Fleet, model: Model, device: str, tier: str, passage: Passage) -> Passage:
    stage = "push"
    try:
        fleet.push(model, devices=[device]).wait(_STEP_S)
        passage = replace(passage, pushed=True)
        stage = "bench"
        records = fleet.bench(model, devices=[device], tier=tier).result(_STEP_S)
        measured = {record.configuration: record for record in records if record.p50_ms is not None}
        passage = replace(passage, records=len(measured))
        stage = "select"
        passage = replace(passage, accuracy_refusal=_accuracy_refusal(fleet, model, device))
        plan = fleet.select(model, policy=AGREEMENT_POLICY, devices=[device])
        plan.check()
    except MusterError as error:
        return replace(passage, reason=f"{stage}: {error}")
    return _chosen(passage, plan.decision(device).chosen or "", measured)


def _chosen(passage: Passage, chosen: str, measured: Mapping[str, Record]) -> Passage:
    """With the figures of what was chosen."""
    if chosen not in measured:
        return replace(passage, chosen=chosen, reason=f"select: chose {chosen!r}, which has no record")
    best = measured[chosen]
    return replace(
        passage,
        chosen=chosen,
        reason="" if passage.accuracy_refusal else "select: an accuracy that nobody knows was accepted as objective",
        agreement=(best.fields["accuracy"] or {}).get("agreement"),
        p50_ms=best.p50_ms,
        p95_ms=best.p95_ms,
        peak_memory_mib=best.peak_memory_mib,
    )


def _accuracy_refusal(fleet: Fleet, model: Model, device: str) -> str:
    """How the objective accuracy is refused for a model without labels; "" when it is not refused."""
    try:
        fleet.select(model, policy=ACCURACY_POLICY, devices=[device]).check()
    except (InvalidInputError, InfeasibleError) as error:
        return f"exit {error.exit_code}: {error}"
    return ""


def _tell(passage: Passage) -> None:
    outcome = passage.chosen if passage.is_through else passage.reason
    print(f"{passage.model}: {outcome} ({passage.seconds:.0f} s)", file=sys.stderr, flush=True)


def _print_table(passages: Sequence[Passage]) -> None:
    wide = max(len(item.model) for item in passages)
    print(
        f"{'MODEL':<{wide}} {'VERDICT':<11} PUSHED RECORDS {'AGREE':>6} {'P50 MS':>8} {'P95 MS':>8} {'PEAK MIB':>8} "
        "CHOSEN, OR WHY NOT"
    )
    for item in passages:
        figures = (
            f"{_figure(item.agreement, 6)} {_figure(item.p50_ms, 8)} {_figure(item.p95_ms, 8)} "
            f"{_figure(item.peak_memory_mib, 8, 1)}"
        )
        outcome = item.chosen if item.is_through else item.reason
        pushed = "yes" if item.pushed else "no"
        print(f"{item.model:<{wide}} {item.verdict:<11} {pushed:<6} {item.records:>7} {figures} {outcome}")
    print("\nThe objective accuracy, of models without labels:")
    for item in passages:
        print(f"{item.model:<{wide}} {item.accuracy_refusal or f'no refusal ({item.reason})'}")


def _figure(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"


if __name__ == "__main__":
    sys.exit(main())
