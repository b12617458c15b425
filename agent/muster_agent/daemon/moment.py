"""The moment: what is up, what failed lately and until when it has to wait. Not durable; thread-safe."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace

from muster_agent.core.backoff import Backoff
from muster_agent.core.known import Facts, Live
from muster_protos.errors import MusterError, TemporaryError


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed ``count`` times in a row."""

    count: int
    reason: str
    until_ns: int | None  # monotonic; None = until another desired state arrives


class Moment:
    """Shared by the loop and the step that runs beside it."""

    def __init__(self, chance: random.Random, backoff: Backoff | None = None) -> None:
        self._lock = threading.Lock()
        self._chance = chance
        self._backoff = backoff or Backoff()
        self._live: dict[str, Live] = {}
        self._failures: dict[str, Failure] = {}
        self._is_online = False

    @property
    def is_online(self) -> bool:
        return self._is_online

    def set_online(self, is_online: bool) -> None:
        self._is_online = is_online

    def facts(self, now_ns: int, monotonic_ns: int) -> Facts:
        """A snapshot for the rules."""
        with self._lock:
            held = (
                key
                for key, failure in self._failures.items()
                if failure.until_ns is None or failure.until_ns > monotonic_ns
            )
            return Facts(
                now_ns=now_ns,
                is_online=self._is_online,
                live=dict(self._live),
                held=frozenset(held),
                problems={key: failure.reason for key, failure in self._failures.items()},
            )

    # ---- what is up ----

    def live(self, model_id: str) -> Live | None:
        with self._lock:
            return self._live.get(model_id)

    def live_ids(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._live)

    def set_live(self, model_id: str, live: Live) -> None:
        with self._lock:
            self._live[model_id] = live

    def set_active(self, model_id: str, active: str, resident: tuple[str, ...]) -> None:
        """The guard moved."""
        with self._lock:
            if model_id in self._live:
                moved = replace(self._live[model_id], active_variant_id=active, resident_variant_ids=resident)
                self._live[model_id] = moved

    def set_active_variant(self, model_id: str, active: str) -> None:
        """The guard moved, as its event says."""
        with self._lock:
            if model_id in self._live:
                self._live[model_id] = replace(self._live[model_id], active_variant_id=active)

    def set_down(self, model_id: str) -> Live | None:
        """The model is not up any more; what it was."""
        with self._lock:
            return self._live.pop(model_id, None)

    # ---- what failed ----

    def failed(self, key: str, error: MusterError, monotonic_ns: int) -> Failure:
        """Hold a step back: a temporary failure for a jittered while, another until the desired state changes."""
        with self._lock:
            count = 1 + (self._failures[key].count if key in self._failures else 0)
            until_ns = None
            if isinstance(error, TemporaryError):
                wait_s = self._backoff.wait_s(count, self._chance.random(), error.retry_after_s)
                until_ns = monotonic_ns + int(wait_s * 1e9)
            self._failures[key] = Failure(count, str(error), until_ns)
            return self._failures[key]

    def succeeded(self, key: str) -> None:
        with self._lock:
            self._failures.pop(key, None)

    def release(self) -> None:
        """Try everything again: the desired state changed, or the link came back."""
        with self._lock:
            for key, failure in self._failures.items():
                self._failures[key] = replace(failure, until_ns=0)

    def next_due_ns(self, monotonic_ns: int) -> int | None:
        """When the next held step may run (monotonic); None when none waits for time."""
        with self._lock:
            waits = [
                failure.until_ns
                for failure in self._failures.values()
                if failure.until_ns is not None and failure.until_ns > monotonic_ns
            ]
            return min(waits, default=None)
