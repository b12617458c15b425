"""The queue before the loop: whatever comes while the loop is busy, it stays small and the last word counts."""

from __future__ import annotations

import pytest

from muster_agent.daemon.inbox import ACKS_KEPT, DESIRED_KEPT, EVENTS_KEPT, Inbox
from muster_agent.daemon.messages import (
    EventsLost,
    Offline,
    Online,
    RemovalClaimed,
    ServingChanged,
    ServingEnded,
    ServingEvent,
)
from muster_protos.model import (
    ControllerMessage,
    Desired,
    Event,
    Goodbye,
    LocalReady,
    ReportAck,
    SessionTerms,
    SignedEnvelope,
)


@pytest.fixture
def inbox():
    return Inbox()


def desired(number):
    return ControllerMessage(Desired(SignedEnvelope("t", str(number).encode(), ())))


def test_a_flood_of_anything_from_outside_is_bounded(inbox):
    for number in range(10_000):
        inbox.received(desired(number))
        inbox.received(ControllerMessage(ReportAck("r", 0, number, "n" * 10_000)))
        inbox.received(ControllerMessage(ReportAck("r" * 10_000, 0, number)))
        inbox.received(ControllerMessage(SessionTerms(number)))
        inbox.received(ControllerMessage(Goodbye(str(number))))
        inbox.received(ControllerMessage(None))
        inbox.serving_event("m", Event(event_id=str(number), reason="x" * 5_000))
        inbox.serving_changed("m", LocalReady())
        inbox.online()
        inbox.offline("flapping")
        inbox.unreached("flapping")
        inbox.inventory_changed()
    messages = inbox.drain()
    assert len(messages) <= DESIRED_KEPT + ACKS_KEPT + EVENTS_KEPT + 10
    assert all(len(m.event.reason) <= 1_000 for m in messages if isinstance(m, ServingEvent))
    acks = [m.body for m in messages if isinstance(m, ControllerMessage) and isinstance(m.body, ReportAck)]
    assert all(len(ack.rejected_reason) <= 500 and ack.request_id == "r" for ack in acks)
    assert inbox.drain() == []


def test_the_newest_desired_states_are_kept_in_order(inbox):
    for number in range(10):
        inbox.received(desired(number))
    assert inbox.drain() == [desired(number) for number in range(10 - DESIRED_KEPT, 10)]


def test_events_that_are_left_out_are_counted_the_oldest_first(inbox):
    for number in range(EVENTS_KEPT + 7):
        inbox.serving_event("m", Event(event_id=str(number)))
    lost, *events = inbox.drain()
    assert lost == EventsLost(7)
    assert events[0].event.event_id == "7"
    assert len(events) == EVENTS_KEPT


def test_of_the_words_about_the_session_the_last_one_counts(inbox):
    inbox.online()
    inbox.received(desired(1))
    inbox.offline("reset")
    inbox.online()
    assert inbox.drain() == [desired(1), Online()]
    inbox.online()
    inbox.offline("reset")
    assert inbox.drain() == [Offline("reset")]


def test_a_late_word_of_a_link_that_was_left_does_not_hide_the_session_of_the_next(inbox):
    inbox.online()
    inbox.unreached("nobody listens there")
    assert Online() in inbox.drain()


def test_the_end_of_a_serving_process_stands_before_its_next_beginning(inbox):
    inbox.serving_changed("m", LocalReady(active_variant_id="a"))
    inbox.serving_ended("m", "SIGKILL")
    inbox.serving_changed("m", LocalReady(active_variant_id="b"))
    ended, changed = inbox.drain()
    assert isinstance(ended, ServingEnded)
    assert changed == ServingChanged("m", LocalReady(active_variant_id="b"))


def test_a_removal_over_a_link_that_proves_nothing_is_a_claim():
    inbox = Inbox(lambda: False)
    inbox.received(ControllerMessage(Goodbye("removed", is_revoked=True)))
    inbox.received(ControllerMessage(Goodbye("the controller stops")))
    assert inbox.drain() == [RemovalClaimed("removed"), ControllerMessage(Goodbye("the controller stops"))]


def test_a_removal_is_not_lost_behind_another_goodbye(inbox):
    inbox.received(ControllerMessage(Goodbye("removed", is_revoked=True)))
    inbox.received(ControllerMessage(Goodbye("the link broke")))
    assert ControllerMessage(Goodbye("removed", is_revoked=True)) in inbox.drain()
