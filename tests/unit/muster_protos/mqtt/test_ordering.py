"""Numbered messages come out once each and in order, whatever a broker does to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_protos.errors import InvalidInputError
from muster_protos.mqtt.ordering import InOrder


@given(st.lists(st.integers(1, 20), max_size=200))
def test_doubles_and_disorder_leave_no_trace(arrivals: list[int]) -> None:
    order: InOrder[int] = InOrder(20, 1000)
    got: list[int] = []
    for number in arrivals:
        got.extend(order.take(number, number, 1, 0.0))
    unbroken = next(number for number in range(1, 22) if number not in set(arrivals))
    assert got == list(range(1, unbroken))
    assert order.taken == len(got)
    assert (order.gap_since_s is not None) == any(number > unbroken for number in arrivals)


def test_hundred_doubles_are_one() -> None:
    order: InOrder[str] = InOrder(4, 1000)
    assert [order.take(1, "a", 1, 0.0) for _ in range(100)] == [("a",), *([()] * 99)]


def test_gap_is_as_old_as_the_number_that_is_missing_now() -> None:
    order: InOrder[int] = InOrder(10, 1000)
    order.take(2, 2, 1, 1.0)
    assert order.gap_since_s == 1.0
    order.take(4, 4, 1, 2.0)
    assert order.gap_since_s == 1.0
    assert order.take(1, 1, 1, 3.0) == (1, 2)
    assert order.gap_since_s == 3.0  # now 3 is missing
    assert order.take(3, 3, 1, 4.0) == (3, 4)
    assert order.gap_since_s is None


@pytest.mark.parametrize("number", [0, -1, 6, 2**62])
def test_number_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises(InvalidInputError):
        InOrder[int](5, 1000).take(number, 0, 0, 0.0)


def test_what_waits_is_bounded_in_bytes_but_the_one_that_is_due_always_passes() -> None:
    order: InOrder[int] = InOrder(10, 100)
    order.take(2, 2, 60, 0.0)
    with pytest.raises(InvalidInputError, match="too much"):
        order.take(3, 3, 41, 0.0)
    assert order.take(3, 3, 40, 0.0) == ()
    assert order.take(1, 1, 10_000, 0.0) == (1, 2, 3)
    assert order.take(5, 5, 100, 0.0) == ()
