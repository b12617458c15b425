"""The play itself, act by act, through the public Python interface."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import muster
from muster.fleet import Fleet
from muster.loads import Load
from muster.models import Model
from muster.selection import Plan
from muster_compression.digits.build import DATA, DigitsFiles, build
from muster_controller.adapters.broker_mosquitto import INSTALL, find_mosquitto
from muster_controller.demo.cast import (
    ACTORS,
    BURST_FACTORS,
    MEASURED,
    MODEL,
    PROBE_CONCURRENCY,
    PROBE_S,
    Actor,
    burst_phases,
    policy,
)
from muster_controller.demo.outcome import DeviceOutcome, Replay, Switch, replay_of
from muster_controller.demo.screen import Screen
from muster_controller.demo.stage import Stage
from muster_protos.errors import MissingExtraError, PermanentError

_PATIENCE_S = 240.0
_SETTLE_S = 20.0
_SEED = 11
_OVERLOADED = 0.08  # of the requests late or refused


def play(stage: Stage, screen: Screen, actors: tuple[Actor, ...] = ACTORS) -> list[DeviceOutcome]:
    """From nothing to a fleet that falls back and recovers.

    Raises:
        MusterError: an act failed; the message says which and why.
    """
    with _opened(stage, screen) as fleet:
        plan, model, outcomes = _until_chosen(stage, screen, fleet, actors)
        _compare(screen, fleet, plan, model, outcomes)
        for outcome in outcomes:
            _learn_state(fleet, outcome)
    return outcomes


def rehearse(
    stage: Stage, screen: Screen, actors: tuple[Actor, ...] = ACTORS, measured: tuple[str, ...] = MEASURED
) -> list[DeviceOutcome]:
    """The same up to the choice among ``measured`` variants, without serving."""
    with _opened(stage, screen) as fleet:
        return _until_chosen(stage, screen, fleet, actors, measured)[2]


def _opened(stage: Stage, screen: Screen) -> Fleet:
    has_broker = _has_broker(screen)
    with screen.step(f"controller up{', with a broker of its own' if has_broker else ''}"):
        stage.start_controller(has_broker)
        return muster.connect(data=stage.data)


def _has_broker(screen: Screen) -> bool:
    """Whether a device can be on MQTT; if not, it is said that all of them use gRPC."""
    try:
        find_mosquitto()
    except MissingExtraError:
        screen.note(f"no mosquitto here: all devices use gRPC. For one on MQTT: {INSTALL}")
        return False
    return True


def _until_chosen(
    stage: Stage, screen: Screen, fleet: Fleet, actors: tuple[Actor, ...], measured: tuple[str, ...] = MEASURED
) -> tuple[Plan, Model, list[DeviceOutcome]]:
    links = {}
    with screen.step(f"{len(actors)} emulated devices join over mTLS"):
        for actor in actors:
            screen.device(actor.device_id, "joining")
            token = fleet.new_token(uses=1)
            broker_link = str(token["broker_link"]) if actor.link == "mqtt" else ""
            links[actor.device_id] = "mqtt" if broker_link else "grpc"
            stage.join(actor.device_id, broker_link or str(token["link"]), str(token["secret"]))
            stage.start_agent(actor.device_id, actor.profile)
    with screen.step("digits: a CNN in three widths, the smallest as TFLite (trained once, then cached)"):
        files = build(stage.folder / "digits", lambda ratio, note: screen.progress(f"{ratio:.0%} {note}"))
    outcomes = [_outcome(stage, screen, fleet, actor, links[actor.device_id]) for actor in actors]
    model = _variants(screen, fleet, files)
    _push(screen, fleet, model)
    _bench(screen, fleet, model, measured)
    return _select(screen, fleet, model, outcomes), model, outcomes


def _outcome(stage: Stage, screen: Screen, fleet: Fleet, actor: Actor, link: str) -> DeviceOutcome:
    fields = _wait_online(stage, fleet, actor.device_id)
    if fields["link"] != link:
        raise PermanentError(f"expected {actor.device_id} online over {link}, found it online over {fields['link']}")
    how = tuple(fields["inventory"]["emulation"]["how"])
    screen.device(actor.device_id, f"online over {fields['link']}, {', '.join(how)}")
    return DeviceOutcome(actor.device_id, actor.profile, how, fields["link"])


def _wait_online(stage: Stage, fleet: Fleet, device_id: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = next((device for device in fleet.devices if device.id == device_id), None)
        if found is not None and found.is_online and found.is_emulated:
            return found.fields
        if device_id in stage.dead():
            break
        time.sleep(0.1)
    raise PermanentError(f"expected {device_id} online, found: {stage.last_words(device_id)}")


def _variants(screen: Screen, fleet: Fleet, files: DigitsFiles) -> Model:
    with screen.step("model add, compress --recipe quick, ready-made variants"):
        model = fleet.models.register(files.wide_onnx, MODEL, data=DATA)
        model.compress("quick").result(_PATIENCE_S, lambda view: screen.progress(view.note))
        for name, path in (("narrow", files.narrow_onnx), ("tiny-tflite", files.tiny_tflite)):
            if path is not None:
                model.add_variant(path, name).result(_PATIENCE_S)
        for variant in model.variants():
            accuracy = variant.manifest["accuracy"]
            kilobytes = variant.manifest["artifact"]["size_bytes"] / 1000
            screen.note(f"{variant.name:<14} accuracy {accuracy['value']:.3f}   {kilobytes:8.0f} kB")
    return model


def _push(screen: Screen, fleet: Fleet, model: Model) -> None:
    with screen.step("push: every variant into every cache, verified there"):
        fleet.push(model).wait(_PATIENCE_S)


def _bench(screen: Screen, fleet: Fleet, model: Model, measured: tuple[str, ...]) -> None:
    with screen.step("bench: every configuration on every device (tier demo: 1 s, for demonstrations only)"):
        run = fleet.bench(model, tier="demo", names=measured, threads=[1], percentiles=[50, 95])
        for record in run.stream(_PATIENCE_S):
            name = record.configuration.split(".", 2)[2]
            screen.device(record.device_id, f"{name}  p50 {_ms(record.p50_ms)}  p95 {_ms(record.p95_ms)}")
        view = run.view()
        if view.count("failed"):
            reasons = {str(request["reason"]) for request in view.requests if request["state"] == "failed"}
            screen.note(f"{view.count('failed')} runs failed: {'; '.join(sorted(reasons))[:300]}")


def _select(screen: Screen, fleet: Fleet, model: Model, outcomes: list[DeviceOutcome]) -> Plan:
    with screen.step("select: one policy, one decision per device, each with its reasons"):
        plan = fleet.select(model, policy=policy(rungs=4))
        plan.check()
        for outcome in outcomes:
            decision = plan.decision(outcome.device_id)
            if not decision.is_feasible:
                raise PermanentError(f"{outcome.device_id}: nothing satisfies the policy: {decision.nearest_miss}")
            outcome.chosen, outcome.ladder = decision.chosen or "", decision.ladder
            screen.device(outcome.device_id, f"{outcome.chosen}, ladder of {len(outcome.ladder)}")
    return plan


def _compare(screen: Screen, fleet: Fleet, plan: Plan, model: Model, outcomes: list[DeviceOutcome]) -> None:
    with screen.step("the largest rung alone under the recorded burst"):
        fleet.select(model, policy=policy(rungs=1)).rollout().wait(_PATIENCE_S)
        for outcome in outcomes:
            _overload(screen, fleet, outcome, _capacity_hz(screen, fleet, outcome.device_id))
    with screen.step("the whole ladder under the same burst: fall back, recover"):
        fleet.select(model, policy=plan.policy_yaml).rollout().wait(_PATIENCE_S)
        for outcome in outcomes:
            before = max((int(event.fields["sequence"]) for event in fleet.events()), default=0)
            outcome.fallback = _replay(screen, fleet, outcome)
            outcome.switches = _switches(fleet, outcome, before)
            for switch in outcome.switches:
                arrow = "↓" if switch.direction == "down" else "↑"
                screen.note(f"{outcome.device_id} {arrow} {switch.target.split('.')[-1]}: {switch.reason}")


def _capacity_hz(screen: Screen, fleet: Fleet, device_id: str) -> float:
    """Requests per second that the largest rung alone answers in a closed loop."""
    screen.device(device_id, f"a closed loop of {PROBE_CONCURRENCY} requests for {PROBE_S:g} s: its capacity")
    load = fleet.load(device_id, MODEL, seed=_SEED, concurrency=PROBE_CONCURRENCY, duration_s=PROBE_S)
    replay = _finished(screen, device_id, load)
    if not replay.answered:
        raise PermanentError(f"{device_id}: no request of the closed loop was answered")
    return replay.answered / PROBE_S


def _overload(screen: Screen, fleet: Fleet, outcome: DeviceOutcome, capacity_hz: float) -> None:
    """Find the burst that the largest rung alone cannot take."""
    for factor in BURST_FACTORS:
        outcome.phases = burst_phases(capacity_hz, factor)
        outcome.largest_alone = _replay(screen, fleet, outcome)
        if (outcome.largest_alone.slo_missed_ratio or 0) >= _OVERLOADED:
            return


def _replay(screen: Screen, fleet: Fleet, outcome: DeviceOutcome) -> Replay:
    """Run the recorded load (same phases, same seed, same arrivals) on the device itself."""
    highest_hz = max(rate for rate, _ in outcome.phases)
    screen.device(outcome.device_id, f"up to {highest_hz:.0f} requests/s for {sum(s for _, s in outcome.phases):g} s")
    load = fleet.load(outcome.device_id, MODEL, seed=_SEED, phases=outcome.phases)
    return _finished(screen, outcome.device_id, load)


def _finished(screen: Screen, device_id: str, load: Load) -> Replay:
    result = load.result(_PATIENCE_S).result
    if result is None:
        raise PermanentError(f"{device_id}: the load came back without a result")
    replay = replay_of(result)
    screen.device(device_id, f"{replay.offered} requests, {replay.slo_missed_ratio or 0:.1%} missed the SLO")
    return replay


def _switches(fleet: Fleet, outcome: DeviceOutcome, after: int) -> list[Switch]:
    """The moves since ``after``; waits for the last one up, which comes after the burst."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        events = [e.fields for e in fleet.events(device=outcome.device_id, kind="rung.changed", after=after)]
        best = outcome.chosen.split("@")[0]
        if (events and events[-1]["to_variant_id"] == best) or time.monotonic() > deadline:
            return [
                Switch(e["from_variant_id"], e["to_variant_id"], e["direction"], e["reason"], e["duration_ms"])
                for e in events
            ]
        time.sleep(0.2)


def _learn_state(fleet: Fleet, outcome: DeviceOutcome) -> None:
    """What the device itself says it serves, once its report has caught up with its last move."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        reported = fleet.devices.get(outcome.device_id).fields["reported"] or {"serving": ()}
        serving = next((s for s in reported["serving"] if s["model_id"] == MODEL), None)
        outcome.active_at_end = serving["active_variant_id"] if serving else ""
        if outcome.has_recovered or time.monotonic() > deadline:
            return
        time.sleep(0.2)


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"
