"""The topics of a fleet: ``muster/1/<fleet>/<device>/...``. Who a device is follows from the topic it may write.

====================  ========  ========  ===  ===============================================================
below the device      writes    retained  QoS  payload
====================  ========  ========  ===  ===============================================================
``presence``          device    yes       1    LinkPresence; the last will says that the connection is lost
``reported``          device    yes       1    UpMessage with a ReportedState
``up/<kind>``         device    no        1    UpMessage; ``up/telemetry`` and ``up/progress`` with QoS 0
``desired``           controller  yes     1    ControllerMessage with a Desired; empty = removed
``down/<kind>``       controller  no      1    DownMessage
====================  ========  ========  ===  ===============================================================

The controller has a ``presence`` in the place of a device called ``controller``, which therefore none may be called.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from muster_protos.broker_names import RESERVED_DEVICE_IDS, topic_root
from muster_protos.errors import InvalidInputError
from muster_protos.ids import check_id

PRESENCE = "presence"
DESIRED = "desired"
REPORTED = "reported"
_CONTROLLER = "controller"  # in the place of a device id
_MAX_TOPIC_CHARACTERS = 256


class Up(Enum):
    """What a device publishes below ``up/``."""

    GREETING = "greeting"
    HELLO = "hello"
    REPORT = "report"
    TELEMETRY = "telemetry"
    PROGRESS = "progress"
    GOODBYE = "goodbye"
    FETCH = "fetch"
    RENEW = "renew"


class Down(Enum):
    """What the controller publishes below ``down/``."""

    WELCOME = "welcome"
    ACK = "ack"
    GOODBYE = "goodbye"
    BLOCK = "block"
    RENEWED = "renewed"


LOSSY = frozenset({Up.TELEMETRY, Up.PROGRESS})  # QoS 0


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device."""

    fleet_id: str
    device_id: str

    def __post_init__(self) -> None:
        """Raises:
        InvalidInputError: not ids, or the controller's name.
        """
        check_id(self.fleet_id, "fleet id")
        check_device_id(self.device_id)

    @property
    def presence(self) -> str:
        return f"{topic_root(self.fleet_id)}/{self.device_id}/{PRESENCE}"

    @property
    def desired(self) -> str:
        return f"{topic_root(self.fleet_id)}/{self.device_id}/{DESIRED}"

    @property
    def reported(self) -> str:
        return f"{topic_root(self.fleet_id)}/{self.device_id}/{REPORTED}"

    def up(self, kind: Up) -> str:
        return f"{topic_root(self.fleet_id)}/{self.device_id}/up/{kind.value}"

    def down(self, kind: Down) -> str:
        return f"{topic_root(self.fleet_id)}/{self.device_id}/down/{kind.value}"

    def subscriptions(self) -> tuple[str, ...]:
        """What a device listens to; the controller's presence last, when it is ready to greet."""
        downs = tuple(self.down(kind) for kind in Down)
        return (*downs, self.desired, controller_presence(self.fleet_id))


@dataclass(frozen=True, slots=True)
class FromDevice:
    """A topic that a device has written: ``kind`` is an Up, ``presence`` or ``reported``."""

    device_id: str
    kind: Up | str


def controller_presence(fleet_id: str) -> str:
    """Where the controller says whether it is there."""
    return f"{topic_root(check_id(fleet_id, 'fleet id'))}/{_CONTROLLER}/{PRESENCE}"


def controller_subscriptions(fleet_id: str) -> tuple[str, ...]:
    """What the controller listens to."""
    base = f"{topic_root(check_id(fleet_id, 'fleet id'))}/+"
    return (f"{base}/{PRESENCE}", f"{base}/{REPORTED}", f"{base}/up/+")


def check_device_id(text: str) -> str:
    """Return ``text`` when a device may bear it.

    Raises:
        InvalidInputError: not an id, or the controller's own name.
    """
    if check_id(text, "device id") in RESERVED_DEVICE_IDS:
        raise InvalidInputError(f"expected a device id other than {text!r}, which is the controller's place")
    return text


def parse_from_device(topic: str, fleet_id: str) -> FromDevice:
    """Whose topic it is and what it carries.

    Raises:
        InvalidInputError: not a topic that a device of this fleet writes.
    """
    root = topic_root(fleet_id) + "/"
    if topic.startswith(root) and len(topic) <= _MAX_TOPIC_CHARACTERS:
        device_id, *kind = topic[len(root) :].split("/")
        check_device_id(device_id)
        if len(kind) == 1 and kind[0] in (PRESENCE, REPORTED):
            return FromDevice(device_id, kind[0])
        if len(kind) == 2 and kind[0] == "up" and kind[1] in _UPS:
            return FromDevice(device_id, _UPS[kind[1]])
    raise InvalidInputError(f"expected a topic of a device of fleet {fleet_id}, found {topic[:80]!r}")


_UPS = {kind.value: kind for kind in Up}
