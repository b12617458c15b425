"""Those who are at the broker under another name than a device's, each at a desk of their own.

``<root>/_join-.../up/join``: who holds a join link and no identity yet; answered in ``down/joined``.
``<root>/_door-.../up/door``: a device whose certificate has run out; answered in ``down/opened``.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Packet
from muster_protos.broker_door import door_answer_topic, door_ask_topic
from muster_protos.broker_join import answer_topic, ask_topic
from muster_protos.broker_names import DOOR_PREFIX, JOINING_PREFIX
from muster_protos.errors import MusterError

_MAX_WAITING = 64  # asks in the pool; whoever is not heard asks again
_HASH = "[0-9a-f]{1,58}"

_log = logging.getLogger(__name__)

Answer = Callable[[str, bytes], bytes | None]
"""(who asks, what) -> what to tell him, None = nothing; may block"""


@dataclass(frozen=True, slots=True)
class Desk:
    """One kind of ask."""

    what: str
    prefix: str  # of the names of who may ask
    ask_topic: Callable[[str, str], str]  # (fleet id, name) -> topic
    answer_topic: Callable[[str, str], str]
    answer: Answer


def desks(answer_join: Answer | None, answer_door: Answer | None) -> tuple[Desk, ...]:
    """Those that somebody sits at."""
    found = []
    if answer_join is not None:
        found.append(Desk("join", JOINING_PREFIX, ask_topic, answer_topic, answer_join))
    if answer_door is not None:
        found.append(Desk("renewal", DOOR_PREFIX, door_ask_topic, door_answer_topic, answer_door))
    return tuple(found)


class Strangers:
    """Hands asks to the service and its answers to the broker."""

    def __init__(
        self,
        fleet_id: str,
        desks: Sequence[Desk],
        submit: Callable[[Callable[[], None]], None],
        post: Callable[[Packet], None],
        drops: Drops,
    ) -> None:
        self._fleet_id = fleet_id
        self._submit = submit
        self._post = post
        self._drops = drops
        self._desks = tuple((_pattern(desk, fleet_id), desk) for desk in desks)
        self._waiting = 0
        self._lock = threading.Lock()

    def take(self, topic: str, payload: bytes) -> bool:
        """Whether ``topic`` is an ask's; if so, it will be answered from a thread of the pool."""
        for pattern, desk in self._desks:
            match = pattern.fullmatch(topic)
            if match is not None:
                self._take(desk, match.group(1), payload)
                return True
        return False

    def _take(self, desk: Desk, name: str, payload: bytes) -> None:
        with self._lock:
            is_full = self._waiting >= _MAX_WAITING
            self._waiting += not is_full
        if is_full:
            self._drops.note("", f"more at once than can be answered, the last a {desk.what}", time.monotonic())
        else:
            self._submit(lambda: self._reply(desk, name, payload))

    def _reply(self, desk: Desk, name: str, payload: bytes) -> None:
        try:
            answer = desk.answer(name, payload)
            if answer is not None:
                self._post(Packet(desk.answer_topic(self._fleet_id, name), answer))
        except MusterError as error:
            self._drops.note("", f"a {desk.what} was not understood: {error}", time.monotonic())
        except Exception:  # noqa: BLE001 - a pool's top: the asker asks again
            _log.exception("a %s over the broker failed", desk.what)
        finally:
            with self._lock:
                self._waiting -= 1


def _pattern(desk: Desk, fleet_id: str) -> re.Pattern[str]:
    before, _, after = desk.ask_topic(fleet_id, "NAME").rpartition("/NAME/")
    return re.compile(f"{re.escape(before)}/({re.escape(desk.prefix)}{_HASH})/{re.escape(after)}")
