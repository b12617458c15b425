"""A change feed within one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class LocalChangeFeed:
    """``ports.ChangeFeed`` for a single controller. Callbacks run in the publisher's thread, outside any lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[str, dict[int, Callable[[], None]]] = {}
        self._next_key = 0

    def publish(self, topic: str) -> None:
        """Wake everybody who waits for ``topic``; one whose callback fails does not keep the others asleep."""
        with self._lock:
            callbacks = list(self._callbacks.get(topic, {}).values())
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a loop's top: a subscriber's fault is not the publisher's
                _log.exception("a subscriber of %s failed", topic)

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` on each publish until the returned unsubscriber is called (twice is harmless)."""
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._callbacks.setdefault(topic, {})[key] = callback

        def unsubscribe() -> None:
            with self._lock:
                waiting = self._callbacks.get(topic, {})
                waiting.pop(key, None)
                if not waiting:
                    self._callbacks.pop(topic, None)

        return unsubscribe
