"""Widths as numbers: never empty, whole segments, rounded to the nearest, led to the target."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_compression.pruning.allocation import by_rank, by_sensitivity, evenly, reach
from muster_compression.pruning.channel_group import ChannelGroup, Kind
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.widths import on_the_way, uniform, units_of, width_for


def group(name="a", size=16, divisor=1, kind=Kind.CHANNELS):
    return ChannelGroup(name, kind, size, divisor, ())


GROUPS = [group("a", 16), group("b", 32), group("c", 24, 4), group("d", 8, 1, Kind.HEADS)]


@given(
    places=st.integers(1, 40),
    divisor=st.sampled_from([1, 2, 4, 8]),
    ratio=st.floats(0, 0.999),
    round_to=st.sampled_from([1, 4, 8, 16]),
)
def test_a_width_is_never_empty_nor_wider_and_keeps_whole_segments(places, divisor, ratio, round_to):
    one = group(size=places * divisor, divisor=divisor)
    width = width_for(one, ratio, round_to)
    assert 0 < width <= one.size
    assert width % divisor == 0
    assert width == one.size or width % round_to == 0


def test_rounding_goes_to_the_nearest_multiple_not_down():
    """Down, a layer of 12 would lose a third for a ratio of 0.05."""
    assert width_for(group(size=12), 0.05, 8) == 8
    assert width_for(group(size=30), 0.1, 8) == 24
    assert width_for(group(size=32), 0.4, 8) == 16
    assert width_for(group(size=32), 0.3, 8) == 24
    assert width_for(group(size=6), 0.9, 8) == 6
    assert width_for(group(size=8, kind=Kind.HEADS), 0.5, 8) == 4


@given(share=st.floats(0, 1), ratio=st.floats(0, 0.95))
def test_steps_go_down_and_end_at_the_end(share, ratio):
    start = {one.name: one.size for one in GROUPS}
    end = uniform(GROUPS, ratio)
    between = on_the_way(start, end, GROUPS, share)
    assert all(end[one.name] <= between[one.name] <= start[one.name] for one in GROUPS)
    assert all(between[one.name] % one.divisor == 0 for one in GROUPS)
    assert on_the_way(start, end, GROUPS, 1.0) == end


PLACES = {"a": list(range(16)), "b": [x + 0.5 for x in range(32)], "c": [100.0] * 6, "d": [3.0] * 8}
SENSITIVITY = {"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.2}
ALLOCATIONS = {
    "evenly": evenly(GROUPS, 0.9, 1),
    "by rank": by_rank(GROUPS, PLACES, 0.9, 1),
    "by sensitivity": by_sensitivity(GROUPS, SENSITIVITY, 0.9, 1),
}


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_more_strength_never_widens_and_both_ends_are_reached(name):
    found = [ALLOCATIONS[name](step / 50) for step in range(51)]
    assert found[0] == {one.name: one.size for one in GROUPS}
    assert all(after[key] <= before[key] for before, after in itertools.pairwise(found) for key in before)
    assert found[-1]["b"] <= 4


def test_the_lowest_of_all_leave_first_but_no_group_is_emptied():
    allocate = by_rank([group("a", 10), group("b", 10)], {"a": [0.1] * 10, "b": [1.0] * 10}, 0.8, 1)
    assert allocate(0.5) == {"a": 2, "b": 10}
    assert allocate(1.0) == {"a": 2, "b": 2}


def test_sensitive_groups_lose_less():
    found = by_sensitivity([group("a", 100), group("b", 100)], {"a": 0.0, "b": 1.0}, 0.9, 1)(0.4)
    assert 1.7 < (100 - found["a"]) / (100 - found["b"]) < 2.0


@given(target=st.floats(0.2, 0.95))
def test_a_target_is_reached_as_near_as_widths_allow(target):
    total = units_of(GROUPS, {one.name: one.size for one in GROUPS}, Kind.CHANNELS)
    widths = reach(evenly(GROUPS, 0.9, 1), lambda w: units_of(GROUPS, w, Kind.CHANNELS) / total, target, 0.06, "left")
    assert abs(units_of(GROUPS, widths, Kind.CHANNELS) / total - target) <= 0.06


def test_a_target_out_of_reach_is_told_with_the_nearest():
    one = [group("a", 10)]
    with pytest.raises(PruningError, match=r"channels left of 0\.05 within 0\.02, the nearest .* is 0\.5 \(0\.5 at"):
        reach(evenly(one, 0.5, 1), lambda widths: widths["a"] / 10, 0.05, 0.02, "channels left")
