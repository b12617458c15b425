"""One session after the other: what every link does between them, whatever carries it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster_agent.ports import LinkSink
from muster_agent.redial import Redial
from muster_protos.model import Goodbye

_STABLE_S = 10.0  # a session that lasted this long was a success: start from the base delay again
_MAX_PAUSE_MS = 600_000  # nobody keeps a device away for longer with one word

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """Why there is no session, or none any more."""

    reason: str
    goodbye: Goodbye | None = None


class Reconnect:
    """Comes back after every end, with full jitter, until it is closed or the device was removed from its fleet."""

    def __init__(self, where: str, redial: Redial, rest_s: float | None = None) -> None:
        """``where``: host and port, for words. ``rest_s``: how long to stay away when the device is said to have been
        removed; None where the controller itself says so: for good."""
        self.closing = threading.Event()
        self._where = where
        self._rest_s = rest_s
        self._redial = redial
        self._hurry = threading.Event()  # do not wait out the back-off: there are new credentials, or we close
        self._last_reason = ""

    def run(self, hold_session: Callable[[LinkSink], End], sink: LinkSink) -> None:
        """Hold sessions; returns when no further one is wanted."""
        while not self.closing.is_set():
            began_s = time.monotonic()
            try:
                end = hold_session(sink)
            except Exception as error:  # noqa: BLE001 - the loop's top: the link outlives a fault of one session
                _log.exception("the session failed")
                end = End(f"{type(error).__name__}: {error}")
            is_revoked = end.goodbye is not None and end.goodbye.is_revoked
            if is_revoked and self._rest_s is None:
                _log.error("this device was removed from the fleet: %s", end.reason)
                return
            if time.monotonic() - began_s > _STABLE_S:
                self._redial.reset()
            retry_after_s = pause_s(end.goodbye) if end.goodbye else 0.0
            if is_revoked and self._rest_s is not None:
                retry_after_s = self._rest_s
            if self._hurry.wait(self._redial.next_s(retry_after_s)):
                self._hurry.clear()

    def close(self) -> None:
        """Begin no further session."""
        self.closing.set()
        self._hurry.set()

    def hurry(self) -> None:
        """Come back at once, with no memory of failures."""
        self._redial.reset()
        self._hurry.set()

    def failed(self, reason: str, sink: LinkSink) -> None:
        """Say why there is no session: once per reason, not once per attempt."""
        if reason != self._last_reason:
            _log.warning("no session with %s: %s; trying on", self._where, reason)
            sink.unreached(reason)
        self._last_reason = reason

    def succeeded(self) -> None:
        """There is a session: the next failure is news."""
        self._last_reason = ""


def pause_s(goodbye: Goodbye) -> float:
    """How long the other side asks us to stay away, in seconds: within bounds, whoever says it."""
    return min(max(0, goodbye.retry_after_ms), _MAX_PAUSE_MS) / 1e3
