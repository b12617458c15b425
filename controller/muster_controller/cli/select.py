"""muster select"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from muster.selection import Decision, Plan
from muster_controller.cli.bench import PARTIAL, read_policy
from muster_controller.cli.layout import Line, fields_of
from muster_controller.cli.options import DeviceNames, Labels, Output, chosen, fleet
from muster_controller.cli.output import (
    Format,
    emit,
    err,
    parse_pairs,
    shown_cell,
    table_lines,
    terminal_width,
    write_lines,
)
from muster_protos.errors import InfeasibleError, UsageError

COLUMNS = {
    "DEVICE": "device_id",
    "CHOSEN": "chosen",
    "LADDER": "ladder",
    "QUALITY": "quality",
    "P95 MS": "p95_ms",
    "EMULATED": "is_emulated",
    "NEAREST MISS": "nearest_miss",
    "DECISION": "decision_id",
}
CANDIDATES = {
    "CONFIGURATION": "configuration",
    "VERDICT": "verdict",
    "QUALITY": "quality",
    "P50 MS": "p50_ms",
    "P95 MS": "p95_ms",
    "P95 UPPER MS": "p95_upper_ms",
    "PEAK MIB": "peak_memory_mib",
    "SIZE MIB": "size_mib",
    "ENERGY MJ": "energy_mj",
    "NOTES": "notes",
}


_KEPT = "rollout start refuses this newest decision until you select again; what is in force stays"
_DEEPER = "  "  # candidates stand below their device


def register(app: typer.Typer) -> None:
    app.command("select")(select)


def select(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    policy: Annotated[Path | None, typer.Option("-p", "--policy", help="A policy file (YAML).")] = None,
    p95_ms: Annotated[float | None, typer.Option(help="Instead of a policy: a bound on p95.")] = None,
    device: DeviceNames = None,
    label: Labels = None,
    explain: Annotated[bool, typer.Option(help="What ruled each other configuration out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and show only: earlier decisions stay in force.")
    ] = False,
    output: Output = None,
) -> None:
    """Choose a configuration and a ladder per device. Exit 7 when nothing satisfies the policy anywhere, 8 when it
    is so on some devices."""
    form = chosen(output)
    text = _policy_text(policy, p95_ms)
    with fleet() as found:
        labels = parse_pairs(label or [], "a label")
        plan = found.select(model, policy=text, devices=device or "all", labels=labels, dry_run=dry_run)
    _show(plan, form, explain)
    if dry_run:
        err().print("dry run: nothing was stored, earlier decisions stay as they are", style="dim")
    if not plan.is_feasible and not dry_run:
        misses = "; ".join(f"{d.device_id}: {d.nearest_miss or 'no measurement'}" for d in plan.infeasible[:3])
        raise InfeasibleError(
            f"no variant of {model} satisfies the policy; nearest miss: {misses}; {_KEPT} (--dry-run decides only)"
        )
    plan.check()
    for decision in plan.infeasible:
        err().print(f"{decision.device_id}: nothing satisfies the policy; {decision.nearest_miss}", markup=False)
    if plan.infeasible:
        raise typer.Exit(PARTIAL)


def _policy_text(policy: Path | None, p95_ms: float | None) -> str:
    if policy is not None and p95_ms is not None:
        raise UsageError("expected either --policy FILE or --p95-ms, found both")
    if policy is not None:
        return read_policy(policy)
    if p95_ms is None:
        raise UsageError("expected --policy FILE or --p95-ms MS, found neither")
    return f"constraints: {{p95_ms: {{max: {p95_ms}}}}}\nobjective: accuracy\n"


def _show(plan: Plan, form: Format, explain: bool) -> None:
    if form in (Format.JSON, Format.JSONL):
        emit([decision.fields for decision in plan.decisions], form, COLUMNS)
        return
    if explain:
        for decision in plan.decisions:
            _explain(decision, form)
        return
    emit([_row(decision) for decision in plan.decisions], form, COLUMNS, heads=2)


def _row(decision: Decision) -> dict[str, Any]:
    chosen_one = next((c for c in decision.candidates if c["verdict"] == "chosen"), {})
    return {
        **decision.fields,
        "chosen": decision.chosen,
        "ladder": decision.ladder,
        "quality": chosen_one.get("quality"),
        "p95_ms": chosen_one.get("p95_ms"),
    }


def _explain(decision: Decision, form: Format) -> None:
    if form is Format.TABLE:
        emulated = " (emulated)" if decision.fields["is_emulated"] else ""
        head = decision.chosen or "nothing satisfies the policy"
        fields = {"  ladder": shown_cell(decision.ladder)}
        if not decision.is_feasible:
            fields["  nearest miss"] = shown_cell(decision.nearest_miss)
        head_line = Line(f"{decision.device_id}{emulated}: {head}", is_head=True)
        write_lines((head_line, *fields_of(fields, terminal_width())))
    rows = [{**candidate, "configuration": _text(candidate)} for candidate in decision.candidates]
    if form is Format.TABLE:
        width = terminal_width()
        lines = table_lines(rows, CANDIDATES, None if width is None else width - len(_DEEPER))
        write_lines(Line(_DEEPER + line.text, line.is_head) for line in lines)
    else:
        emit(rows, form, CANDIDATES)


def _text(candidate: Any) -> str:
    from muster.bench import configuration_text

    return configuration_text(candidate["configuration"])
