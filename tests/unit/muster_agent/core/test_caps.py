"""The slow loop's rule: down at once for a cause, up only after thirty calm seconds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from muster_agent.core.caps import HYSTERESIS_NS, CapState, Readings, cap_for, next_cap

SECOND = 1_000_000_000
HOT = Readings(temperature_celsius=78.0, trip_celsius=80.0)
CALM = Readings(temperature_celsius=50.0, trip_celsius=80.0)


def after(*readings, start=CapState()):  # noqa: B008 (frozen)
    state = start
    for second, reading in enumerate(readings):
        state = next_cap(state, reading, second * SECOND)
    return state


def test_three_hot_readings_cap_and_two_do_not():
    assert after(HOT, HOT).steps_down == 0
    assert after(HOT, HOT, HOT).steps_down == 1
    assert after(HOT, HOT, CALM, HOT).steps_down == 0


def test_lasting_heat_caps_further():
    assert after(*[HOT] * 25).steps_down == 3


def test_a_throttle_flag_or_an_almost_empty_battery_caps_at_once():
    assert after(Readings(throttle_flags=("under-voltage",))).steps_down == 1
    assert after(Readings(battery_ratio=0.1, is_charging=False)).steps_down == 1
    assert cap_for(after(Readings(battery_ratio=0.03, is_charging=False)), 4).highest_rung == 3
    assert after(Readings(battery_ratio=0.03, is_charging=True)).steps_down == 0


def test_little_memory_caps():
    state = after(Readings(available_bytes=50, ram_bytes=1000))
    assert (state.steps_down, "memory" in state.reason) == (1, True)


def test_the_cap_lifts_one_step_per_calm_half_minute():
    capped = CapState(steps_down=2, reason="hot")
    assert after(*[CALM] * 30, start=capped).steps_down == 2
    assert after(*[CALM] * 31, start=capped).steps_down == 1
    assert after(*[CALM] * 61, start=capped).steps_down == 0


def test_missing_and_broken_sensors_cap_nothing():
    assert after(*[Readings()] * 50).steps_down == 0
    assert after(*[Readings(temperature_celsius=math.nan, trip_celsius=80.0)] * 50).steps_down == 0


def test_the_cheapest_rung_is_always_allowed():
    assert cap_for(CapState(steps_down=9), 1).highest_rung == 0
    assert cap_for(CapState(steps_down=9), 0).highest_rung == 0


readings = st.builds(
    Readings,
    temperature_celsius=st.none() | st.floats(),
    trip_celsius=st.none() | st.floats(),
    throttle_flags=st.sampled_from([(), ("throttled",)]),
    battery_ratio=st.none() | st.floats(),
    is_charging=st.none() | st.booleans(),
    available_bytes=st.none() | st.integers(0, 2000),
    ram_bytes=st.none() | st.integers(0, 1000),
)


@given(st.lists(readings, max_size=60))
def test_no_reading_breaks_it_and_no_cap_lifts_early(all_readings):
    state, lowered_ns = CapState(), 0
    for second, reading in enumerate(all_readings):
        now_ns = second * SECOND
        following = next_cap(state, reading, now_ns)
        if following.steps_down < state.steps_down:
            assert now_ns - lowered_ns >= HYSTERESIS_NS
        if following.steps_down != state.steps_down:
            lowered_ns = now_ns
        state = following
        assert 0 <= cap_for(state, 4).highest_rung <= 3
