"""Asks of those who hold a join link and no identity yet: ``<root>/_join-.../up/join``, answered in ``down/joined``."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Packet
from muster_protos.broker_join import answer_topic
from muster_protos.broker_names import JOINING_PREFIX, topic_root
from muster_protos.errors import MusterError

_MAX_WAITING = 64  # asks in the pool; whoever is not heard asks again

_log = logging.getLogger(__name__)

AnswerJoin = Callable[[str, bytes], bytes | None]
"""(who asks, what) -> what to tell him, None = nothing; may block"""


class Joins:
    """Hands asks to the service and its answers to the broker."""

    def __init__(
        self,
        fleet_id: str,
        answer: AnswerJoin,
        submit: Callable[[Callable[[], None]], None],
        post: Callable[[Packet], None],
        drops: Drops,
    ) -> None:
        self._fleet_id = fleet_id
        self._answer = answer
        self._submit = submit
        self._post = post
        self._drops = drops
        self._topic = re.compile(
            re.escape(topic_root(fleet_id)) + "/(" + re.escape(JOINING_PREFIX) + "[0-9a-f]{1,58})/up/join"
        )
        self._waiting = 0
        self._lock = threading.Lock()

    def take(self, topic: str, payload: bytes) -> bool:
        """Whether ``topic`` is an ask's; if so, it will be answered from a thread of the pool."""
        match = self._topic.fullmatch(topic)
        if match is None:
            return False
        name = match.group(1)
        with self._lock:
            is_full = self._waiting >= _MAX_WAITING
            self._waiting += not is_full
        if is_full:
            self._drops.note("", "more joins at once than can be answered", time.monotonic())
        else:
            self._submit(lambda: self._reply(name, payload))
        return True

    def _reply(self, name: str, payload: bytes) -> None:
        try:
            answer = self._answer(name, payload)
            if answer is not None:
                self._post(Packet(answer_topic(self._fleet_id, name), answer))
        except MusterError as error:
            self._drops.note("", f"a join was not understood: {error}", time.monotonic())
        except Exception:  # noqa: BLE001 - a pool's top: the asker asks again
            _log.exception("a join over the broker failed")
        finally:
            with self._lock:
                self._waiting -= 1
