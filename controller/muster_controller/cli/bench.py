"""muster bench run | ls | show | compare | export | cancel"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from muster.bench import BenchmarkRun, Record, RunView
from muster_controller.cli.options import (
    DeviceNames,
    Labels,
    Output,
    Timeout,
    VariantNames,
    Wait,
    chosen,
    fleet,
)
from muster_controller.cli.output import Format, emit, emit_one, err, parse_pairs
from muster_controller.cli.records import COLUMNS, row_of
from muster_controller.cli.waiting import announce, with_meter
from muster_controller.core.policy import parse_policy
from muster_protos.errors import NotFoundError, PermanentError, UsageError, as_usage

app = typer.Typer(help="Measure variants on devices.", no_args_is_help=True)

RUNS = {
    "RUN": "run_id",
    "MODEL": "model_id",
    "VERSION": "model_version",
    "TIER": "tier",
    "DEVICES": "device_ids",
    "CREATED": "created_at_ns",
}
REQUESTS = {
    "DEVICE": "device_id",
    "VARIANT": "request.configuration.variant_id",
    "RUNTIME": "request.configuration.runtime",
    "PROVIDER": "request.configuration.provider",
    "THREADS": "request.configuration.threads",
    "STATE": "state",
    "ATTEMPT": "request.attempt",
    "REASON": "reason",
}
PARTIAL = 8
RunId = Annotated[str, typer.Argument(help="A run id of: muster bench ls")]


@app.command("run")
def run(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    device: DeviceNames = None,
    label: Labels = None,
    variant: VariantNames = None,
    tier: Annotated[str, typer.Option(help="demo, quick, standard or certify.")] = "quick",
    threads: Annotated[list[int] | None, typer.Option(help="Thread counts; 1 and all cores when absent.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Only this runtime, repeatable.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only this provider, repeatable.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Measure the percentiles that this policy names.")] = None,
    seed: Annotated[int, typer.Option(help="Order of the inputs.")] = 0,
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Measure on devices. Progress on standard error, records on standard output; exit 8 when some failed."""
    form = chosen(output)
    options = {"threads": threads or [], "runtimes": runtime or [], "providers": provider or [], "seed": seed}
    if policy is not None:
        with as_usage():
            options["percentiles"] = list(parse_policy(read_policy(policy)).percentiles())
    with fleet() as found:
        started = found.bench(
            model, device or "all", tier, variant or (), parse_pairs(label or [], "a label"), **options
        )
        announce(started.run_id, started.url)
        if not wait:
            emit_one(started.view().fields["run"], form, RUNS)
            return
        if form is Format.JSONL:
            _stream(started, timeout)
            records = started.records()
        else:
            records = with_meter(started.run_id, _following(started, timeout))
            emit(_rows(records, form), form, COLUMNS, "no record: every attempt failed", heads=2)
        _conclude(started.view(), len(records))


@app.command("ls")
def ls(
    limit: Annotated[int, typer.Option(help="At most this many.")] = 50,
    output: Output = None,
) -> None:
    """List runs."""
    with fleet() as found:
        emit(
            found.connection.items("/v1/benchmarks", limit), chosen(output), RUNS, "no run yet: muster bench run MODEL"
        )


@app.command("show")
def show(run: RunId, output: Output = None) -> None:
    """Show a run: its requests, and the records that have arrived."""
    form = chosen(output)
    with fleet() as found:
        started = BenchmarkRun(found.connection, run)
        view, records = started.view(), started.records()
    if form in (Format.JSON, Format.JSONL):
        emit_one({**view.fields, "records": [record.fields for record in records]}, form, RUNS)
        return
    if form is Format.TABLE:
        emit(view.requests, form, REQUESTS, heads=2)
        err().print()
    emit(_rows(records, form), form, COLUMNS, "no record yet", heads=2)


@app.command("compare")
def compare(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    device: Annotated[str, typer.Option("-d", "--device", help="Only this device.")] = "",
    output: Output = None,
) -> None:
    """Compare the newest record of every configuration, fastest first on each device."""
    form = chosen(output)
    with fleet() as found:
        reference = found.models.get(model).reference
        fields = found.connection.items("/v1/records", model=reference, device=device, limit=1000)
        # They come in the order of arrival, so the last one counts, whatever the device's clock said.
        newest = {(record.device_id, record.configuration): record for record in (Record(item) for item in fields)}
    ordered = sorted(newest.values(), key=lambda r: (r.device_id, r.p50_ms is None, r.p50_ms or 0.0))
    empty = f"no record of {reference} yet: muster bench run {reference}"
    emit(_rows(ordered, form), form, COLUMNS, empty, heads=2)


@app.command("export")
def export(
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    run: Annotated[str, typer.Option(help="Only this run.")] = "",
    device: Annotated[str, typer.Option("-d", "--device", help="Only this device.")] = "",
    output: Output = None,
) -> None:
    """Write records with all their provenance; as JSON lines unless -o says otherwise."""
    form = output or Format.JSONL
    with fleet() as found:
        items = found.connection.items("/v1/records", model=model, run=run, device=device, limit=1000)
        emit(_rows([Record(item) for item in items], form), form, COLUMNS, heads=2)


@app.command("cancel")
def cancel(run: RunId) -> None:
    """Ask no more of the devices; what they measured stays."""
    with fleet() as found:
        BenchmarkRun(found.connection, run).cancel()
    err().print(f"{run} is cancelled")


def read_policy(path: Path) -> str:
    """A policy file's text. NotFoundError when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise NotFoundError(f"expected a policy at {path}, found nothing") from error
    except IsADirectoryError as error:
        raise UsageError(f"expected a policy in YAML at {path}, found a folder") from error
    except OSError as error:
        raise UsageError(f"expected a policy in YAML at {path}, found: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"expected a policy in YAML at {path}, found a file that is no text") from error


def _rows(records: list[Record], form: Format) -> list[dict[str, object]]:
    """Whole records for programs, figures for people."""
    if form in (Format.JSON, Format.JSONL):
        return [dict(record.fields) for record in records]
    return [row_of(record) for record in records]


def _following(
    started: BenchmarkRun, timeout_s: float | None
) -> Callable[[Callable[[float, str], None]], list[Record]]:
    return lambda show: started.result(timeout_s, lambda view: show(*_progress(view)))


def _stream(started: BenchmarkRun, timeout_s: float | None) -> None:
    for record in started.stream(timeout_s):
        emit([dict(record.fields)], Format.JSONL, COLUMNS)


def _progress(view: RunView) -> tuple[float, str]:
    total = max(1, len(view.requests))
    finished = total - view.count("open")
    running = [entry for entry in view.fields["progress"] if entry["total"] > 0 and entry["done"] < entry["total"]]
    part = sum(min(1.0, entry["done"] / entry["total"]) for entry in running)
    note = f"{running[-1]['device_id']}: {running[-1]['note']}" if running else ""
    return min(1.0, (finished + part) / total), f"{finished}/{total} {note}"


def _conclude(view: RunView, records: int) -> None:
    failed = [request for request in view.requests if request["state"] in ("failed", "cancelled")]
    for request in failed[:5]:
        variant = request["request"]["configuration"]["variant_id"]
        err().print(f"{request['state']}: {variant} on {request['device_id']}: {request['reason']}", markup=False)
    if not failed:
        return
    if records == 0 or len(failed) == len(view.requests):
        raise PermanentError(f"no benchmark of {view.fields['run']['run_id']} succeeded")
    raise typer.Exit(PARTIAL)
