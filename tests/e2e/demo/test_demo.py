"""The demo is the end-to-end test of the whole loop; its promises are judged by its own exit code and here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

import muster
from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_controller.demo.cast import ACTORS, MODEL, Actor, policy
from muster_controller.demo.outcome import (
    MISSED_ALONE,
    MISSED_WITH_LADDER,
    DeviceOutcome,
    Replay,
    Switch,
    shortcomings,
)
from muster_controller.demo.play import play, rehearse
from muster_controller.demo.screen import Screen
from muster_controller.demo.stage import Stage
from muster_protos.errors import MissingExtraError

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]
PATIENCE_S = 240.0


class Theatre:
    """One stage for this file: what the play has trained, compressed and pushed is there for the swap of roles."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._stage: Stage | None = None
        self._outcomes: list[DeviceOutcome] = []

    def play(self, actors: tuple[Actor, ...] = ACTORS, act=play) -> list[DeviceOutcome]:
        """From nothing, on a new stage."""
        self.close()
        self._stage = Stage(self._factory.mktemp("stage"))
        self._outcomes = act(self._stage, Screen([actor.device_id for actor in actors]), actors)
        return self._outcomes

    def chosen(self, *actors: Actor) -> tuple[Stage, dict[str, str]]:
        """The stage, and the variant of each of these actors; a rehearsal where the play was not to be seen."""
        if not self._outcomes:  # two variants: the others are not what two devices differ in
            self.play(actors, partial(rehearse, measured=("int8-static", "narrow")))
        assert self._stage is not None
        ids = [actor.device_id for actor in actors]
        outcomes, self._outcomes = self._outcomes, []  # a second try of the test begins anew
        return self._stage, {o.device_id: variant_of(o.chosen) for o in outcomes if o.device_id in ids}

    def close(self) -> None:
        self._outcomes = []
        if self._stage is not None:
            self._stage.clear()


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    made = Theatre(tmp_path_factory)
    yield made
    made.close()


def variant_of(configuration: str) -> str:
    return configuration.split("@")[0]


def expected_links() -> dict[str, str]:
    """One of three on MQTT where there is a broker, else all on gRPC."""
    try:
        find_mosquitto()
    except MissingExtraError:
        return {actor.device_id: "grpc" for actor in ACTORS}
    assert [actor.link for actor in ACTORS].count("mqtt") == 1
    return {actor.device_id: actor.link for actor in ACTORS}


def test_every_device_falls_back_and_recovers_without_a_failed_request(theatre: Theatre) -> None:
    outcomes = theatre.play()
    assert all(outcome.emulation for outcome in outcomes)
    assert {outcome.device_id: outcome.link for outcome in outcomes} == expected_links()
    assert len({variant_of(outcome.chosen) for outcome in outcomes}) >= 2
    for outcome in outcomes:
        assert outcome.fallback is not None
        assert outcome.largest_alone is not None
        assert outcome.fallback.failed == outcome.largest_alone.failed == 0
        assert outcome.has_fallen_back
        assert outcome.has_recovered
        assert (outcome.largest_alone.slo_missed_ratio or 0) >= MISSED_ALONE
        assert (outcome.fallback.slo_missed_ratio or 0) < 3 * MISSED_WITH_LADDER  # `make demo` holds it to 1 %


def test_each_broken_promise_is_named() -> None:
    good, bad = Replay(100, 0, 0, 0, 1.0, 2.0), Replay(100, 3, 0, 40, 1.0, 2.0)
    up, down = (Switch("a", "b", direction, "", None) for direction in ("up", "down"))
    kept = DeviceOutcome(
        "x", "pi", chosen="a@r/c/t1", switches=[down, up], largest_alone=bad, fallback=good, active_at_end="a"
    )
    broken = replace(kept, chosen="b@r/c/t1", switches=[], largest_alone=good, fallback=bad)
    assert shortcomings([kept, replace(kept, chosen="b@r/c/t1", active_at_end="b")]) == []
    assert len(shortcomings([kept, broken])) == 5
    assert shortcomings([kept, kept]) == ["all devices got the same variant"]


def test_choices_follow_the_profiles_when_these_are_swapped(theatre: Theatre) -> None:
    """Two devices, one on each link, change roles; what they get must change with the role, not stay with the name."""
    fast, slow = ACTORS[0], ACTORS[-1]
    stage, first = theatre.chosen(fast, slow)
    assert first[fast.device_id] != first[slow.device_id]
    swapped = (replace(fast, profile=slow.profile), replace(slow, profile=fast.profile))
    for actor in swapped:
        stage.stop_agent(actor.device_id)
        stage.start_agent(actor.device_id, actor.profile)
    with muster.connect(data=stage.data) as fleet:
        for actor in swapped:
            wait_for_profile(fleet, actor)
        names = sorted(variant_id.split(".", 2)[2] for variant_id in first.values())
        run = fleet.bench(
            fleet.models.get(MODEL),
            devices=[actor.device_id for actor in swapped],
            tier="demo",
            names=names,
            threads=[1],
            percentiles=[50, 95],
        )
        assert {record.device_id for record in run.result(PATIENCE_S)} == {actor.device_id for actor in swapped}
        plan = fleet.select(MODEL, policy=policy(rungs=4))
        second = {actor.device_id: variant_of(plan.decision(actor.device_id).chosen or "") for actor in swapped}
    assert second == {fast.device_id: first[slow.device_id], slow.device_id: first[fast.device_id]}


def wait_for_profile(fleet: muster.Fleet, actor: Actor) -> None:
    deadline = time.monotonic() + 60
    while True:
        device = fleet.devices.get(actor.device_id)
        emulation = device.fields["inventory"]["emulation"]
        if device.is_online and emulation["profile"] == actor.profile:
            return
        assert time.monotonic() < deadline, f"{actor.device_id} is still {emulation}"
        time.sleep(0.1)
