"""muster rollout start | status | pause | approve | resume | abort | rollback | history"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from muster.fleet import Fleet
from muster.rollouts import Rollout, RolloutView
from muster_controller.cli.bench import read_policy
from muster_controller.cli.durations import parse_duration_s
from muster_controller.cli.options import DeviceNames, Labels, Output, Timeout, Wait, Yes, chosen, confirm, fleet
from muster_controller.cli.output import Format, emit, emit_one, err, out, parse_pairs
from muster_controller.cli.waiting import announce, with_meter
from muster_protos.errors import NotFoundError, PermanentError

app = typer.Typer(help="Put decisions into force, wave by wave.", no_args_is_help=True)

ROLLOUTS = {
    "ROLLOUT": "rollout_id",
    "MODEL": "model_id",
    "VERSION": "model_version",
    "STATE": "state",
    "WAVE": "active_wave",
    "CREATED": "created_at_ns",
    "REASON": "reason",
}
DEPLOYMENTS = {
    "DEVICE": "device_id",
    "WAVE": "wave",
    "STATE": "state",
    "RUNG": "rung",
    "RUNGS": "rungs",
    "UPDATED": "updated_at_ns",
    "REASON": "reason",
}
RolloutId = Annotated[str, typer.Argument(help="A rollout id; the newest when absent.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the rollout and shown.")]


@app.command("start")
def start(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    device: DeviceNames = None,
    label: Labels = None,
    policy: Annotated[Path | None, typer.Option("-p", "--policy", help="Decide first, by this policy.")] = None,
    canary: Annotated[int, typer.Option(help="Start with this many devices.")] = 0,
    canary_label: Annotated[list[str] | None, typer.Option(help="Start with the devices of this key=value.")] = None,
    then: Annotated[list[str] | None, typer.Option(help='A next wave: "25%", a count, or "all"; repeatable.')] = None,
    deadline: Annotated[str, typer.Option(help="How long a device has until it has committed; at least 10s.")] = "1h",
    error_threshold: Annotated[float, typer.Option(help="Share of failures that aborts it, 0 to 1.")] = 0.0,
    success_threshold: Annotated[
        float, typer.Option(help="Share of a wave that must be committed before the next one starts, above 0 to 1.")
    ] = 1.0,
    pause_after_wave: Annotated[bool, typer.Option(help="Wait for `rollout approve` after each wave.")] = False,
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Roll the newest decisions out, all at once unless a canary or waves are named."""
    form = chosen(output)
    options: dict[str, Any] = {
        "labels": parse_pairs(label or [], "a label"),
        "policy_yaml": read_policy(policy) if policy else "",
        "canary": canary,
        "canary_labels": parse_pairs(canary_label or [], "a label"),
        "waves": then or [],
        "deadline_s": round(parse_duration_s(deadline)),
        "error_threshold_ratio": error_threshold,
        "success_threshold_ratio": success_threshold,
        "pauses_after_wave": pause_after_wave,
    }
    with fleet() as found:
        started = found.rollout(model, device or "all", **options)
        announce(started.rollout_id, started.url)
        if not device:
            _say_left_out(found, started.view())
        if not wait:
            _show(started.view(), form)
            return
        try:
            with_meter(started.rollout_id, _following(started, timeout))
        except PermanentError:
            _show(started.view(), form)
            raise
        _show(started.view(), form)


@app.command("status")
def status(rollout: RolloutId = "", output: Output = None) -> None:
    """Show a rollout and each device's part."""
    with fleet() as found:
        _show(_find(found, rollout).view(), chosen(output))


@app.command("pause")
def pause(rollout: RolloutId = "", reason: Reason = "", output: Output = None) -> None:
    """Hold it: start no further wave until `approve` or `resume`."""
    with fleet() as found:
        _show(_find(found, rollout).pause(reason), chosen(output))


@app.command("approve")
def approve(rollout: RolloutId = "", reason: Reason = "", output: Output = None) -> None:
    """Start the next wave after a look at this one; refused while this one is not through."""
    with fleet() as found:
        _show(_find(found, rollout).approve(reason), chosen(output))


@app.command("resume")
def resume(rollout: RolloutId = "", reason: Reason = "", output: Output = None) -> None:
    """Lift a hold, whatever brought it about."""
    with fleet() as found:
        _show(_find(found, rollout).resume(reason), chosen(output))


@app.command("abort")
def abort(rollout: RolloutId = "", reason: Reason = "", output: Output = None) -> None:
    """Stop a rollout in any state; what has been committed stays. Devices that are away learn it later."""
    with fleet() as found:
        _show(_find(found, rollout).abort(reason), chosen(output))


@app.command("rollback")
def rollback(rollout: RolloutId = "", yes: Yes = False, reason: Reason = "", output: Output = None) -> None:
    """Put every device of a rollout back to what it served before. Asks when that is nothing."""
    with fleet() as found:
        meant = _find(found, rollout)
        bare = meant.bare_after_rollback()
        if bare:
            model = meant.view().fields["rollout"]["model_id"]
            named = ", ".join(bare[:5]) + (", ..." if len(bare) > 5 else "")
            confirm(
                f"{meant.rollout_id} is the first of {model} on {named}: rolled back, nothing is served there (to put "
                f"another choice there instead: muster select {model}, then muster rollout start {model}). Go on?",
                yes,
            )
        _show(meant.rollback(reason), chosen(output))


@app.command("history")
def history(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.")] = 50, output: Output = None
) -> None:
    """List rollouts, newest first."""
    form = chosen(output)
    with fleet() as found:
        rows = _newest(found)[:limit]
    if form not in (Format.JSON, Format.JSONL):
        rows = [{**row, "active_wave": row["active_wave"] + 1} for row in rows]  # people count from 1
    emit(rows, form, ROLLOUTS, "no rollout yet: muster rollout start MODEL")


def _newest(found: Fleet) -> list[Any]:
    return sorted(
        found.connection.items("/v1/rollouts", limit=1000),
        key=lambda r: (r["created_at_ns"], r["rollout_id"]),
        reverse=True,
    )


def _find(found: Fleet, rollout: str) -> Rollout:
    if rollout:
        return Rollout(found.connection, rollout)
    rollouts = _newest(found)
    if not rollouts:
        raise NotFoundError("there is no rollout yet; start one with: muster rollout start MODEL")
    return Rollout(found.connection, str(rollouts[0]["rollout_id"]))


def _following(started: Rollout, timeout_s: float | None) -> Callable[[Callable[[float, str], None]], RolloutView]:
    def progress(view: RolloutView) -> tuple[float, str]:
        states = [deployment["state"] for deployment in view.deployments]
        done = states.count("committed")
        wave = view.fields["rollout"]["active_wave"] + 1
        return done / max(1, len(states)), f"wave {wave}/{len(view.fields['rollout']['waves'])}, {done} committed"

    return lambda show: started.wait(timeout_s, lambda view: show(*progress(view)))


def _say_left_out(found: Fleet, view: RolloutView) -> None:
    """All devices were meant; those without a feasible decision are not part of it."""
    included = {deployment["device_id"] for deployment in view.deployments}
    left_out = [known.id for known in found.devices.list() if known.id not in included]
    if left_out:
        err().print(f"left out: {', '.join(left_out)} (other labels, or no feasible decision)", markup=False)


def _show(view: RolloutView, form: Format) -> None:
    if form in (Format.JSON, Format.JSONL):
        emit_one(view.fields, form, ROLLOUTS)
        return
    rows = []
    for deployment in view.deployments:
        ladder = [rung["configuration"]["variant_id"] for rung in deployment["grant"]["ladder"]]
        rung = ladder[0] if ladder else ""
        rows.append({**deployment, "wave": deployment["wave"] + 1, "rung": rung, "rungs": len(ladder)})
    if form is Format.TABLE:
        rollout = view.fields["rollout"]
        reason = f": {rollout['reason']}" if rollout["reason"] else ""
        wave = f"wave {rollout['active_wave'] + 1} of {len(rollout['waves'])}"
        model = f"{rollout['model_id']}:{rollout['model_version']}"
        head = f"{rollout['rollout_id']}  {model}  {rollout['state']}{reason}  {wave}"
        out().print(head, style="bold", markup=False)
    emit(rows, form, DEPLOYMENTS)
    if view.state == "paused":
        err().print("paused; go on with: muster rollout approve (once the wave is through) or resume", style="dim")
