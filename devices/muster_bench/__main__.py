"""``python -m muster_bench check FILE`` and ``python -m muster_bench run FILE``: this room on its own."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path

from muster_bench.check import ModelCheck, Verdict, check_model
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark
from muster_bench.ready_made import manifest_of
from muster_devices.facts import device_facts
from muster_protos.errors import MusterError
from muster_protos.model import BenchmarkRequest, Configuration, Progress, Scenario, Tier


def main() -> int:
    """Exit status 0 when the file is accepted or the run was made."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "check":
            return _print_check(check_model(arguments.file), arguments.output)
        return _run(arguments)
    except MusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m muster_bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="judge a model file in a child with limits")
    run = commands.add_parser("run", help="measure a model file on this machine")
    for command in (check, run):
        command.add_argument("file", type=Path)
        command.add_argument("-o", "--output", choices=("text", "json"), default="text")
    run.add_argument("--tier", choices=("demo", "quick", "standard", "certify"), default="quick")
    run.add_argument("--provider", default="cpu")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--percentile", type=float, action="append", default=[])
    return parser


def _print_check(check: ModelCheck, output: str) -> int:
    if output == "json":
        print(json.dumps(asdict(check), default=_plain))
    else:
        print(f"{check.verdict.value}: {check.reason or f'{check.format}, {check.precision}'}")
    return 0 if check.verdict is Verdict.ACCEPTED else 1


def _run(arguments: argparse.Namespace) -> int:
    manifest = manifest_of(arguments.file)
    runtime = "onnxruntime" if manifest.format.value == "onnx" else "litert"
    request = BenchmarkRequest(
        configuration=Configuration(manifest.variant_id, runtime, arguments.provider, arguments.threads),
        tier=Tier(arguments.tier),
        scenario=Scenario.SINGLE_STREAM,
        percentiles=tuple(arguments.percentile),
    )
    spec = MeasureSpec(arguments.file, manifest, request, device=device_facts())
    record = run_benchmark(spec, ChildLimits(), _show)
    if arguments.output == "json":
        print(json.dumps(asdict(record), default=_plain))
        return 0
    latency = record.latency
    print(f"{record.state.value}: {'; '.join(record.reasons) or 'undisturbed'}")
    if latency is not None:
        p95 = "not supported by so few queries" if latency.p95 is None else f"{latency.p95 / 1e6:.3f} ms"
        print(f"p50 {latency.p50 / 1e6:.3f} ms, p95 {p95}, {latency.n} queries")
    return 0


def _show(progress: Progress) -> None:
    print(f"\r{progress.done:4.0%} {progress.note:<40}", end="" if progress.done < 1 else "\n", file=sys.stderr)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value).__name__)


if __name__ == "__main__":
    sys.exit(main())
