"""What time it is for an agent whose own clock may be anywhere."""

from __future__ import annotations

import time

import pytest

from muster_agent.adapters.clock_system import SystemClock

HOUR_NS = 3600 * 10**9


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The operating system's clocks: [wall, since boot]; the one that stops while the machine sleeps stands still."""
    clocks = [1_800_000_000 * 10**9, 5 * 10**9]
    stopped_ns = time.monotonic_ns()
    monkeypatch.setattr(time, "time_ns", lambda: clocks[0])
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: {time.CLOCK_BOOTTIME: clocks[1]}[which])
    monkeypatch.setattr(time, "monotonic_ns", lambda: stopped_ns)
    return clocks


def test_a_plausible_clock_is_believed_until_the_controller_speaks(wall: list[int]) -> None:
    clock = SystemClock(earliest_ns=1_700_000_000 * 10**9)
    assert clock.now_ns() == wall[0]
    assert not clock.is_told


def test_a_clock_at_1970_is_not_before_what_is_known_to_be_past_and_goes_on_from_there(wall: list[int]) -> None:
    wall[0] = 7 * 10**9
    clock = SystemClock(earliest_ns=1_700_000_000 * 10**9)
    wall[1] += HOUR_NS
    assert clock.now_ns() == 1_700_000_000 * 10**9 + HOUR_NS


@pytest.mark.parametrize("told_ns", [0, -1, 1_699_999_999 * 10**9])
def test_a_word_of_the_controller_before_what_is_known_to_be_past_is_none(wall: list[int], told_ns: int) -> None:
    clock = SystemClock(earliest_ns=1_700_000_000 * 10**9)
    clock.learn(told_ns)
    assert not clock.is_told
    assert clock.now_ns() == wall[0]


@pytest.mark.parametrize("wrong_by_ns", [-1_800_000_000 * 10**9, -24 * HOUR_NS, 10 * 365 * 24 * HOUR_NS])
def test_the_controllers_word_counts_whatever_the_own_clock_says_or_does_later(
    wall: list[int], wrong_by_ns: int
) -> None:
    true_ns = wall[0]
    wall[0] += wrong_by_ns
    clock = SystemClock(earliest_ns=0)
    clock.learn(true_ns)
    wall[0] += 12 * HOUR_NS  # somebody sets the clock
    wall[1] += HOUR_NS
    assert clock.is_told
    assert clock.now_ns() == true_ns + HOUR_NS


def test_hours_of_sleep_have_passed(wall: list[int]) -> None:
    clock = SystemClock(earliest_ns=0)
    clock.learn(wall[0])
    told_ns, began_ns = wall[0], clock.monotonic_ns()
    wall[1] += 9 * HOUR_NS  # suspended
    assert clock.now_ns() == told_ns + 9 * HOUR_NS
    assert clock.monotonic_ns() - began_ns == 9 * HOUR_NS


def test_without_such_a_clock_the_plain_one_serves(wall: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_clock(which: int) -> int:
        raise OSError(which)

    monkeypatch.setattr(time, "clock_gettime_ns", no_clock)
    clock = SystemClock(earliest_ns=0)
    clock.learn(wall[0])
    assert clock.now_ns() == wall[0]
