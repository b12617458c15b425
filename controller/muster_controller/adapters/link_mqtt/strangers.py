"""Those who are at the broker under another name than a device's, each at a desk of their own.

``<root>/_join-.../up/join``: who holds a join link and no identity yet; answered in ``down/joined``.
``<root>/_door-.../up/door``: a device whose certificate has run out; answered in ``down/opened``.

They have threads of their own: whatever they cost, no device waits for them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Packet
from muster_protos.broker_door import door_answer_topic, door_ask_topic
from muster_protos.broker_join import answer_topic, ask_topic
from muster_protos.broker_names import DOOR_PREFIX, JOINING_PREFIX
from muster_protos.errors import MusterError

_THREADS = 2
_MAX_WAITING = 64  # asks, those that are being answered among them; whoever is not heard asks again
_MAX_ASK_BYTES = 256 * 1024
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
        post: Callable[[Packet], None],
        drops: Drops,
    ) -> None:
        self._fleet_id = fleet_id
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="link-mqtt-strangers")
        self._post = post
        self._drops = drops
        self._desks = tuple((_pattern(desk, fleet_id), desk) for desk in desks)
        self._waiting = 0
        self._lock = threading.Lock()

    def take(self, topic: str, payload: bytes) -> bool:
        """Whether ``topic`` is an ask's; if so, it will be answered from another thread."""
        for pattern, desk in self._desks:
            match = pattern.fullmatch(topic)
            if match is not None:
                self._take(desk, match.group(1), payload)
                return True
        return False

    def close(self) -> None:
        """Answer nobody any more. Does not wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, desk: Desk, name: str, payload: bytes) -> None:
        if len(payload) > _MAX_ASK_BYTES:
            found = f"a {desk.what} of {len(payload)} bytes, more than {_MAX_ASK_BYTES}"
            self._drops.note("", found, time.monotonic())
            return
        with self._lock:
            is_full = self._waiting >= _MAX_WAITING
            self._waiting += not is_full
        if is_full:
            self._drops.note("", f"more at once than can be answered, the last a {desk.what}", time.monotonic())
        else:
            with contextlib.suppress(RuntimeError):  # closed
                self._pool.submit(self._reply, desk, name, payload)

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
