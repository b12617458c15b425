"""Counters since the start and latencies of the last ten seconds."""

from __future__ import annotations

import math
import threading
from collections import deque

from muster_protos.model import LocalStatus

_WINDOW_NS = 10_000_000_000
_MOST = 20_000  # answers kept; beyond it the window is shorter than ten seconds


class Figures:
    """What LocalStatus reports. Safe to use from several threads."""

    def __init__(self, slo_ns: int = 0) -> None:
        self.slo_ns = slo_ns
        self._lock = threading.Lock()
        self._answered = self._failed = self._shed = self._slo_missed = 0
        self._latencies: deque[tuple[int, int]] = deque(maxlen=_MOST)

    def answered(self, latency_ns: int, now_ns: int) -> None:
        """A request got its answer, in time or late."""
        with self._lock:
            self._answered += 1
            self._slo_missed += int(0 < self.slo_ns < latency_ns)
            self._latencies.append((now_ns, latency_ns))

    def failed(self) -> None:
        """A good request got an error that is not shedding."""
        with self._lock:
            self._failed += 1
            self._slo_missed += 1

    def shed(self) -> None:
        """A request was refused."""
        with self._lock:
            self._shed += 1
            self._slo_missed += 1

    def status(
        self, now_ns: int, active: str, resident: tuple[str, ...], queue_length: int, slowdown_ratio: float
    ) -> LocalStatus:
        """The message for the agent."""
        with self._lock:
            while self._latencies and now_ns - self._latencies[0][0] > _WINDOW_NS:
                self._latencies.popleft()
            ordered = sorted(latency for _, latency in self._latencies)
            span_ns = now_ns - self._latencies[0][0] if len(ordered) == _MOST else _WINDOW_NS
            return LocalStatus(
                active_variant_id=active,
                resident_variant_ids=resident,
                answered=self._answered,
                failed=self._failed,
                shed=self._shed,
                slo_missed=self._slo_missed,
                p50_ns=_percentile(ordered, 50),
                p95_ns=_percentile(ordered, 95),
                requests_per_s=len(ordered) * 1e9 / max(span_ns, 1),
                queue_length=queue_length,
                slowdown_ratio=slowdown_ratio,
            )


def _percentile(ordered: list[int], percent: float) -> int | None:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
