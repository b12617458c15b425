"""When and how a device asks for a new certificate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster_agent.core.renewal import DOUBT_S, LONG_DOUBT_S, Life, Way, way_to_renew

DAY_NS = 86_400 * 10**9
LIFE = Life(0, 7 * DAY_NS, 0.5)


def way(
    days: float, *, known: bool = True, offline_s: float | None = None, asked: bool = False, busy: bool = False
) -> Way:
    now_ns = int(days * DAY_NS)
    return way_to_renew(LIFE, now_ns, is_clock_known=known, offline_s=offline_s, has_asked=asked, is_busy=busy)


def test_a_young_certificate_is_left_alone() -> None:
    assert way(4.6) is Way.NONE


def test_two_thirds_of_the_life_are_due() -> None:
    assert way(7 * 2 / 3 + 0.001) is Way.LINK


def test_a_benchmark_may_end_first_while_there_is_time() -> None:
    assert way(5.0, busy=True) is Way.NONE
    assert way(6.0, busy=True) is Way.LINK


@given(st.floats(0, 1, exclude_max=True))
def test_renewals_of_a_fleet_spread_over_a_tenth_of_the_life(draw: float) -> None:
    due = Life(0, 1000, draw).due_ns()
    assert 616 <= due <= 717


def test_offline_for_long_the_door_is_asked_once_whether_this_device_still_belongs() -> None:
    assert way(6.9, offline_s=LONG_DOUBT_S - 1) is Way.NONE
    assert way(6.9, offline_s=LONG_DOUBT_S) is Way.DOOR
    assert way(6.9, offline_s=1e9, asked=True) is Way.NONE
    assert way(7.0, offline_s=1e9, asked=True) is Way.DOOR


def test_offline_with_an_expired_one_the_door_is_asked_at_once() -> None:
    assert way(7.0, offline_s=0.0) is Way.DOOR


def test_who_does_not_know_the_time_asks_at_the_door_after_a_while() -> None:
    assert way(-20_000, known=False, offline_s=DOUBT_S - 1) is Way.NONE
    assert way(-20_000, known=False, offline_s=DOUBT_S) is Way.DOOR


def test_a_clock_ten_years_ahead_asks_at_the_door_and_does_no_harm() -> None:
    assert way(3650, known=False, offline_s=0.0) is Way.DOOR


def test_online_the_link_is_the_way_even_when_the_certificate_is_over() -> None:
    assert way(8.0) is Way.LINK
