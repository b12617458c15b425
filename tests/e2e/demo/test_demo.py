"""The demo is the end-to-end test of the whole loop; its promises are judged by its own exit code and here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_controller.demo.cast import ACTORS
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def variant_of(configuration: str) -> str:
    return configuration.split("@")[0]


def run(folder: Path, actors, act) -> list[DeviceOutcome]:
    with Stage(folder) as stage:
        return act(stage, Screen([actor.device_id for actor in actors]), actors)


def expected_links() -> dict[str, str]:
    """One of three on MQTT where there is a broker, else all on gRPC."""
    try:
        find_mosquitto()
    except MissingExtraError:
        return {actor.device_id: "grpc" for actor in ACTORS}
    assert [actor.link for actor in ACTORS].count("mqtt") == 1
    return {actor.device_id: actor.link for actor in ACTORS}


def test_every_device_falls_back_and_recovers_without_a_failed_request(tmp_path: Path) -> None:
    outcomes = run(tmp_path, ACTORS, play)
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


def test_choices_follow_the_profiles_when_these_are_swapped(tmp_path: Path) -> None:
    """Two device ids change roles; what they get must change with the role, not stay with the name."""
    fast, slow = ACTORS[0], ACTORS[-1]
    rehearse_two = partial(rehearse, measured=("int8-static", "narrow"))  # the others are not what they differ in
    first = run(tmp_path / "first", (fast, slow), rehearse_two)
    swapped = (replace(fast, profile=slow.profile), replace(slow, profile=fast.profile))
    second = run(tmp_path / "second", swapped, rehearse_two)
    by_profile = [{o.profile: variant_of(o.chosen) for o in outcomes} for outcomes in (first, second)]
    assert by_profile[0] == by_profile[1]
    assert len(set(by_profile[0].values())) == 2
