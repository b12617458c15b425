"""Removed devices on their way out of a broker: each is told first, then all that wait are shut out together.

One at a time would take a third of a second each, with the revocation list written anew and the broker made to read it
for every one: whoever removes a thousand devices would have the last of them there for minutes.

A broker keeps the list that it had read when a session began for as long as that session lasts, 400 bytes for each
entry. So the longer the list, the longer the pause between two readings; the first never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from muster_protos.errors import MusterError

FAREWELL_S = 2.0  # for the goodbye to a removed device to leave before its session is ended ...
DELIVERY_S = 0.3  # ... and to get there
_LOOK_S = 0.02

_log = logging.getLogger(__name__)


class BrokerRemovals:
    """``add`` from any thread; ``end`` is called in a thread of its own. The fleet bounds what waits."""

    def __init__(
        self,
        is_live: Callable[[str], bool],
        end: Callable[[Sequence[str]], None],
        pause_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``is_live``: whether a device has a session yet. ``end`` shuts those out that it is given, at least
        ``pause_s`` after the last ones.
        """
        self._is_live = is_live
        self._end = end
        self._pause_s = pause_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[str, None] = {}
        self._is_running = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="broker-removal")

    def add(self, device_id: str) -> None:
        """It was removed from the fleet."""
        with self._lock:
            if self._closing.is_set():
                _log.info("the broker stops: device %s is refused from its next start on", device_id)
                return
            self._waiting[device_id] = None
            is_idle, self._is_running = not self._is_running, True
            if is_idle:
                self._pool.submit(self._run)

    def close(self) -> None:
        """Begin with no further ones. Does not wait."""
        with self._lock:
            self._waiting.clear()
            self._closing.set()
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        while batch := self._next_batch():
            deadline_s = time.monotonic() + FAREWELL_S
            while any(map(self._is_live, batch)) and time.monotonic() < deadline_s:
                time.sleep(_LOOK_S)
            time.sleep(DELIVERY_S)
            try:
                self._end(batch)
            except MusterError as error:
                _log.warning("the sessions of %s at the broker could not be ended: %s", _few(batch), error)
            except Exception:  # noqa: BLE001 - a loop's top: the next ones shall be ended all the same
                _log.exception("the sessions of %s at the broker could not be ended", _few(batch))
            self._closing.wait(self._pause_s())

    def _next_batch(self) -> tuple[str, ...]:
        with self._lock:
            batch = tuple(self._waiting)
            self._waiting.clear()
            self._is_running = bool(batch)
            return batch


def _few(device_ids: Sequence[str]) -> str:
    more = f" and {len(device_ids) - 3} more" if len(device_ids) > 3 else ""
    return f"{', '.join(device_ids[:3])}{more}"
