"""What reaches the loop from other threads: link, serving processes, steps, loads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from muster_agent.daemon.loads import LoadEnded
from muster_agent.daemon.renewal import RenewalEnded
from muster_agent.daemon.runner import StepEnded
from muster_protos.model import ControllerMessage, Event, LocalReady


@dataclass(frozen=True, slots=True)
class Online:
    """A session with the controller is up."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The session is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreached:
    """A session did not come about."""

    reason: str


@dataclass(frozen=True, slots=True)
class InventoryChanged:
    """This device has found out more about itself."""


@dataclass(frozen=True, slots=True)
class ServingEnded:
    """A serving process died."""

    model_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServingChanged:
    """A serving process came up by itself or moved."""

    model_id: str
    ready: LocalReady


@dataclass(frozen=True, slots=True)
class ServingEvent:
    """A serving process tells of a move of its guard, or the like."""

    model_id: str
    event: Event


Message = (
    Online
    | Offline
    | Unreached
    | ControllerMessage
    | InventoryChanged
    | ServingEnded
    | ServingChanged
    | ServingEvent
    | StepEnded
    | LoadEnded
    | RenewalEnded
)


class Inbox:
    """A queue that wakes the loop. Is the sink of the link and of the serving processes."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self._messages: deque[Message] = deque()

    def post(self, message: Message) -> None:
        self._messages.append(message)
        self.wake.set()

    def drain(self) -> list[Message]:
        """Everything that has arrived, oldest first."""
        self.wake.clear()
        messages: list[Message] = []
        while self._messages:
            messages.append(self._messages.popleft())
        return messages

    def inventory_changed(self) -> None:
        """What the device is or can do differs from what was said."""
        self.post(InventoryChanged())

    # ---- LinkSink ----

    def online(self) -> None:
        self.post(Online())

    def offline(self, reason: str) -> None:
        self.post(Offline(reason))

    def unreached(self, reason: str) -> None:
        self.post(Unreached(reason))

    def received(self, message: ControllerMessage) -> None:
        self.post(message)

    # ---- ServedSink ----

    def serving_ended(self, model_id: str, reason: str) -> None:
        self.post(ServingEnded(model_id, reason))

    def serving_changed(self, model_id: str, ready: LocalReady) -> None:
        self.post(ServingChanged(model_id, ready))

    def serving_event(self, model_id: str, event: Event) -> None:
        self.post(ServingEvent(model_id, event))
