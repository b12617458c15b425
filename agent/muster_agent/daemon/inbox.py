"""The queue before the loop. Whatever comes in while the loop is busy, it does not grow without bound.

A message that replaces an earlier one takes its place at the end; of what others may send as much as they like, a
number is kept. Nothing that is left out is lost for good: desired states and acknowledgements come again, events are
counted and told. Ends of steps, checks, loads and renewals are as few as the loop has begun.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import replace

from muster_agent.daemon.bounded import bounded_event
from muster_agent.daemon.messages import (
    EventsLost,
    InventoryChanged,
    Message,
    Offline,
    Online,
    RemovalClaimed,
    ServingChanged,
    ServingEnded,
    ServingEvent,
    Unreached,
)
from muster_protos.model import ControllerMessage, Desired, Event, Goodbye, LocalReady, ReportAck, SessionTerms

DESIRED_KEPT = 4  # up to 16 MiB each; the controller sends the newest again with each session
ACKS_KEPT = 4096  # a report whose acknowledgement is left out is sent again
EVENTS_KEPT = 1000  # of serving processes and apps
_REASON_CHARACTERS = 500
_ID_CHARACTERS = 4096


class Inbox:
    """Wakes the loop. Is the sink of the link and of the serving processes; every call may come from any thread."""

    def __init__(self, is_proven: Callable[[], bool] = lambda: True) -> None:
        """``is_proven``: whether the link of this moment proves that the controller speaks."""
        self.wake = threading.Event()
        self._is_proven = is_proven
        self._lock = threading.Lock()
        self._messages: OrderedDict[Hashable, Message] = OrderedDict()
        self._kept: dict[type, deque[int]] = {}  # keys, oldest first, of each kind that is counted
        self._lost_events = 0
        self._count = 0

    def post(self, message: Message) -> None:
        with self._lock:
            self._put(_place(message), message)
        self.wake.set()

    def drain(self) -> list[Message]:
        """Everything that has arrived, oldest first."""
        self.wake.clear()
        with self._lock:
            messages: list[Message] = [EventsLost(self._lost_events)] if self._lost_events else []
            messages += self._messages.values()
            self._messages.clear()
            self._kept.clear()
            self._lost_events = 0
        return messages

    def inventory_changed(self) -> None:
        """What the device is or can do differs from what was said."""
        self.post(InventoryChanged())

    def _put(self, place: Hashable, message: Message) -> None:
        if place is not None:
            self._messages.pop(place, None)
            self._messages[place] = message
            return
        self._count += 1
        kind, limit = _limit(message)
        if limit:
            kept = self._kept.setdefault(kind, deque())
            if len(kept) >= limit:
                del self._messages[kept.popleft()]
                self._lost_events += kind is ServingEvent
            kept.append(self._count)
        self._messages[self._count] = message

    # ---- LinkSink ----

    def online(self) -> None:
        self.post(Online())

    def offline(self, reason: str) -> None:
        self.post(Offline(reason))

    def unreached(self, reason: str) -> None:
        self.post(Unreached(reason))

    def received(self, message: ControllerMessage) -> None:
        body = message.body
        if isinstance(body, Goodbye) and body.is_revoked and not self._is_proven():
            self.post(RemovalClaimed(body.reason[:_REASON_CHARACTERS]))
        elif isinstance(body, ReportAck):
            if len(body.request_id) <= _ID_CHARACTERS:  # a longer one is none of ours
                self.post(ControllerMessage(replace(body, rejected_reason=body.rejected_reason[:_REASON_CHARACTERS])))
        else:
            self.post(message)

    # ---- ServedSink ----

    def serving_ended(self, model_id: str, reason: str) -> None:
        self.post(ServingEnded(model_id, reason))

    def serving_changed(self, model_id: str, ready: LocalReady) -> None:
        self.post(ServingChanged(model_id, ready))

    def serving_event(self, model_id: str, event: Event) -> None:
        self.post(ServingEvent(model_id, bounded_event(event)))


def _place(message: Message) -> Hashable:
    """Messages of one place replace each other: only the last one counts. None = it stands for itself."""
    match message:
        case Online() | Offline():
            return "session"
        case Unreached():  # may be a late word of a link that was left: it must not hide that another one is up
            return "unreached"
        case InventoryChanged():
            return "inventory"
        case RemovalClaimed() | ControllerMessage(Goodbye(is_revoked=True)):
            return "removal", type(message)
        case ServingChanged(model_id):
            return "serving", model_id
        case ControllerMessage(SessionTerms() | Goodbye() | None as body):
            return "controller", type(body)
        case _:
            return None


def _limit(message: Message) -> tuple[type, int]:
    """(what is counted, how many of it are kept); 0 = as many as come."""
    match message:
        case ServingEvent():
            return ServingEvent, EVENTS_KEPT
        case ControllerMessage(Desired()):
            return Desired, DESIRED_KEPT
        case ControllerMessage(ReportAck()):
            return ReportAck, ACKS_KEPT
        case _:
            return type(message), 0
