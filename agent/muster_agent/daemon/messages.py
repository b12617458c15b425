"""What reaches the loop from other threads: link, serving processes, steps, checks, loads."""

from __future__ import annotations

from dataclasses import dataclass

from muster_agent.daemon.desired import DesiredChecked
from muster_agent.daemon.loads import LoadEnded
from muster_agent.daemon.renewal import RenewalEnded
from muster_agent.daemon.runner import StepEnded
from muster_agent.daemon.stored import StoredChecked
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
class RemovalClaimed:
    """Somebody says that this device was removed, over a link that does not prove that it is the controller."""

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


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Events of serving processes came faster than the loop could take them."""

    count: int


Message = (
    Online
    | Offline
    | Unreached
    | ControllerMessage
    | RemovalClaimed
    | InventoryChanged
    | ServingEnded
    | ServingChanged
    | ServingEvent
    | EventsLost
    | StepEnded
    | LoadEnded
    | RenewalEnded
    | DesiredChecked
    | StoredChecked
)
