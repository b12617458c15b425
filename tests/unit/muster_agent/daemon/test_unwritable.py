"""While the disk takes nothing, what happens is kept in memory, and nothing that was under way hangs for ever."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from muster_protos.errors import TemporaryError
from muster_protos.model import Event


@contextmanager
def full(house):
    """Every write of the state fails."""

    @contextmanager
    def refuse():
        raise TemporaryError("the state database failed: the disk is full")
        yield

    database = house.state._database
    real, database.transaction = database.transaction, refuse
    try:
        yield
    finally:
        database.transaction = real


def happen(house, count, start=0):
    for number in range(start, start + count):
        house.daemon.inbox.serving_event("digits", Event(event_id=f"e{number}", kind="rung.changed"))
    house.settle()


def stored(house) -> list[str]:
    return [report.body.event_id for report in house.state.reports(0, 5000) if report.body.kind == "rung.changed"]


def test_events_wait_in_memory_and_are_stored_in_order(online):
    with full(online):
        happen(online, 3)
        assert stored(online) == []
        online.clock.advance(3)
        online.settle()
        assert "disk is full" in online.daemon.reported().reason
    happen(online, 2, start=3)
    assert stored(online) == [f"e{number}" for number in range(5)]
    online.clock.advance(3)
    online.settle()
    assert {"state.unwritable", "state.recovered"} <= set(online.events())


def test_memory_is_bounded_and_what_was_dropped_is_told(online):
    with full(online):
        happen(online, 1200)
    happen(online, 1, start=1200)
    kept = stored(online)
    assert len(kept) <= 1000
    assert kept[-1] == "e1200"
    dropped = [r.body.reason for r in online.state.reports(0, 5000) if r.body.kind == "events.dropped"]
    assert len(dropped) == 1


def test_a_message_that_fails_does_not_take_the_end_of_a_step_along(online):
    online.want(replace(online.grant("d1"), is_committed=True))
    with full(online):
        report = online.state.reports(0, 1)[0]
        online.link.acknowledge(report)  # cannot be stored: it comes again
        online.link.deliver(online.desired(online.grant("d2", ("int8",))))
        online.settle()
        assert online.daemon._runner.running is None
        assert online.served.up["digits"].grant.deployment_id == "d1"
    online.clock.advance(120)
    online.settle()
    assert online.served.up["digits"].grant.deployment_id == "d2"


def test_nothing_newer_is_adopted_than_can_be_written_down(online):
    online.want(replace(online.grant("d1"), is_committed=True))
    version = online.daemon.reported().desired_version
    with full(online):
        online.link.deliver(online.desired(online.grant("d2")))
        online.settle()
        assert online.daemon.reported().desired_version == version


@pytest.mark.parametrize("free", [0, 3])
def test_exhausted_descriptors_are_told_once_and_their_end_too(online, monkeypatch, free):
    parts = online.daemon._parts
    troubles = online.daemon._troubles
    monkeypatch.setattr(troubles, "_parts", replace(parts, free_descriptors=lambda: free))
    for _ in range(3):
        online.clock.advance(3)
        online.settle()
    assert online.events().count("descriptors.exhausted") == 1
    assert "descriptors" in online.daemon.reported().reason
    monkeypatch.setattr(troubles, "_parts", replace(parts, free_descriptors=lambda: 900))
    online.clock.advance(3)
    online.settle()
    assert online.events().count("descriptors.recovered") == 1
