"""Portions of a fetch: small on a slow network, everything on a fast one."""

from __future__ import annotations

import pytest

from muster_agent.fetch_pace import FetchPace

KIB = 1024


def portions(bytes_per_s: float, round_trip_s: float, count: int) -> list[int]:
    pace, found = FetchPace(), []
    for _ in range(count):
        found.append(pace.portion_bytes)
        pace.took(round_trip_s + pace.portion_bytes / bytes_per_s)
    return found


def test_a_fast_network_is_asked_for_the_whole_rest_after_four_portions() -> None:
    assert portions(100e6, 0.001, 6) == [32 * KIB, 128 * KIB, 512 * KIB, 2048 * KIB, 0, 0]


@pytest.mark.parametrize(("bytes_per_s", "round_trip_s"), [(8_000, 0.1), (8_000, 4.0), (3_000, 2.0), (40_000, 1.0)])
def test_a_slow_network_has_no_more_under_way_than_it_carries_in_seconds(
    bytes_per_s: float, round_trip_s: float
) -> None:
    for size in portions(bytes_per_s, round_trip_s, 40):
        assert size >= 16 * KIB
        assert size / bytes_per_s < 11.0


def test_a_network_that_becomes_slow_is_asked_for_less() -> None:
    pace = FetchPace()
    for seconds in (0.1, 0.1, 0.1):
        pace.took(seconds)
    assert pace.portion_bytes == 2048 * KIB
    pace.took(250.0)
    assert pace.portion_bytes < 64 * KIB


def test_a_far_network_is_asked_for_more_as_it_brings_it() -> None:
    assert portions(10e6, 1.5, 12)[-1] == 2048 * KIB
