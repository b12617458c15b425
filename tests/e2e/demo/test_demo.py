"""The demo is the end-to-end test of the whole loop; its promises are judged by its own exit code and here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster_controller.demo.cast import ACTORS
from muster_controller.demo.outcome import DeviceOutcome, shortcomings
from muster_controller.demo.play import play, rehearse
from muster_controller.demo.screen import Screen
from muster_controller.demo.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def variant_of(configuration: str) -> str:
    return configuration.split("@")[0]


def run(folder: Path, actors, act) -> list[DeviceOutcome]:
    with Stage(folder) as stage:
        return act(stage, Screen([actor.device_id for actor in actors]), actors)


def test_every_device_falls_back_and_recovers_without_a_failed_request(tmp_path: Path) -> None:
    outcomes = run(tmp_path, ACTORS, play)
    assert shortcomings(outcomes) == []
    assert all(outcome.emulation for outcome in outcomes)


def test_choices_follow_the_profiles_when_these_are_swapped(tmp_path: Path) -> None:
    """Two device ids change roles; what they get must change with the role, not stay with the name."""
    fast, slow = ACTORS[0], ACTORS[-1]
    first = run(tmp_path / "first", (fast, slow), rehearse)
    swapped = (replace(fast, profile=slow.profile), replace(slow, profile=fast.profile))
    second = run(tmp_path / "second", swapped, rehearse)
    by_profile = [{o.profile: variant_of(o.chosen) for o in outcomes} for outcomes in (first, second)]
    assert by_profile[0] == by_profile[1]
    assert len(set(by_profile[0].values())) == 2
