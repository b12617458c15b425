"""Standing troubles of the device: told once when they begin and once when they are over, and shown in between."""

from __future__ import annotations

import logging

from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_protos.errors import MusterError

log = logging.getLogger(__name__)

PERIOD_NS = 2_000_000_000
_FULL_BYTES = 8 * 1024 * 1024  # what a fetch leaves free for state and logs
_FEW_DESCRIPTORS = 16
_OVER = {
    "disk.full": "disk.recovered",
    "state.unwritable": "state.recovered",
    "descriptors.exhausted": "descriptors.recovered",
}


class Troubles:
    """Belongs to the loop; looks every two seconds."""

    def __init__(self, parts: Parts, outbox: Outbox) -> None:
        self._parts = parts
        self._outbox = outbox
        self._standing: dict[str, str] = {}
        self._next_ns = 0

    @property
    def reason(self) -> str:
        """The standing troubles in a line; "" without any."""
        return "; ".join(self._standing.values())

    def turn(self) -> None:
        """Look when it is due."""
        now_ns = self._parts.clock.monotonic_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PERIOD_NS
        loss = self._parts.state.take_loss()
        if loss:
            self._outbox.begin_anew()
            self._outbox.event("state.rebuilt", reason=loss)
        for kind, reason in self._found().items():
            self._tell(kind, reason)

    def _tell(self, kind: str, reason: str) -> None:
        before = self._standing.pop(kind, "")
        if reason:
            self._standing[kind] = before or reason
        if reason and not before:
            log.error("%s", reason)
            self._outbox.event(kind, reason=reason)
        elif before and not reason:
            log.warning("over: %s", before)
            self._outbox.event(_OVER[kind], reason=f"over: {before}")

    def _found(self) -> dict[str, str]:
        """Every kind of trouble and what is the matter; "" when nothing is."""
        return {
            "disk.full": self._disk(),
            "state.unwritable": self._parts.state.problem or self._outbox.problem,
            "descriptors.exhausted": self._descriptors(),
        }

    def _disk(self) -> str:
        try:
            free_bytes = self._parts.cache.free_bytes()
        except (MusterError, OSError):
            return ""
        if free_bytes >= _FULL_BYTES:
            return ""
        return f"the disk is full: {free_bytes >> 10} KiB are free; serving goes on, nothing new is fetched; free some"

    def _descriptors(self) -> str:
        free = self._parts.free_descriptors()
        if free is None or free >= _FEW_DESCRIPTORS:
            return ""
        return f"file descriptors are exhausted: {free} are left; serving goes on; raise the limit (ulimit -n)"
