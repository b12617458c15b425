"""Devices on their way out of a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from muster_controller.cli import broker_removals
from muster_controller.cli.broker_removals import BrokerRemovals
from muster_protos.errors import UnreachableError


class Door:
    """Notes who is shut out, in which company."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.live: set[str] = set()
        self.error: Exception | None = None
        self.pause_s = 0.0
        self.ended_s: list[float] = []
        self.removals = BrokerRemovals(self.live.__contains__, self.end, lambda: self.pause_s)

    def end(self, device_ids: Sequence[str]) -> None:
        self.batches.append(tuple(device_ids))
        self.ended_s.append(time.monotonic())
        if self.error is not None:
            raise self.error

    def until_out(self, count: int) -> list[str]:
        deadline_s = time.monotonic() + 20
        while sum(map(len, self.batches)) < count:
            assert time.monotonic() < deadline_s, f"expected {count} shut out, found {self.batches}"
            threading.Event().wait(0.01)
        return [device_id for batch in self.batches for device_id in batch]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(broker_removals, "DELIVERY_S", 0.1)
    made = Door()
    yield made
    made.removals.close()


def test_a_thousand_that_are_removed_at_once_take_a_few_turns_and_not_a_thousand(door: Door) -> None:
    names = [f"pi-{number}" for number in range(1000)]
    for name in names:
        door.removals.add(name)
    assert door.until_out(1000) == names
    assert len(door.batches) <= 5


def test_who_has_a_session_is_told_before_it_is_ended(door: Door) -> None:
    door.live.add("pi-1")
    door.removals.add("pi-1")
    time.sleep(0.5)
    assert door.batches == []
    door.live.clear()
    door.until_out(1)


def test_who_does_not_listen_is_shut_out_all_the_same(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_removals, "FAREWELL_S", 0.3)
    door.live.add("pi-1")
    door.removals.add("pi-1")
    assert door.until_out(1) == ["pi-1"]


@pytest.mark.parametrize("error", [UnreachableError("expected a broker"), RuntimeError("a fault of ours")])
def test_a_failure_does_not_keep_the_next_ones_in(door: Door, error: Exception) -> None:
    door.error = error
    door.removals.add("pi-1")
    door.until_out(1)
    door.error = None
    door.removals.add("pi-2")
    assert door.until_out(2) == ["pi-1", "pi-2"]


def test_after_the_end_nobody_waits(door: Door) -> None:
    door.removals.close()
    door.removals.add("pi-1")
    time.sleep(0.3)
    assert door.batches == []


def test_the_broker_is_left_alone_for_a_while_after_it_has_read_a_long_list(door: Door) -> None:
    door.pause_s = 1.0
    door.removals.add("pi-1")
    door.until_out(1)
    for name in ("pi-2", "pi-3"):
        door.removals.add(name)
        time.sleep(0.05)
    door.until_out(3)
    assert door.batches == [("pi-1",), ("pi-2", "pi-3")]
    assert door.ended_s[1] - door.ended_s[0] > 1.0


def test_the_end_waits_for_no_pause(door: Door) -> None:
    door.pause_s = 600.0
    door.removals.add("pi-1")
    door.until_out(1)
    door.removals.close()
    door.removals._pool.shutdown(wait=True)
