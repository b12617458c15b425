"""Full jitter: between nothing and a ceiling that doubles up to a cap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster_agent.core.backoff import Backoff


@given(st.integers(-5, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_within_its_bounds(failures, uniform):
    assert 0 <= Backoff(0.5, 60).wait_s(failures, uniform) <= 60


def test_the_ceiling_doubles():
    waits = [Backoff(0.5, 60).wait_s(failures, 0.999_999) for failures in range(1, 10)]
    assert [round(wait, 1) for wait in waits] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_hint_of_the_other_side_is_a_floor():
    assert Backoff().wait_s(1, 0.0, retry_after_s=5.0) == 5.0
