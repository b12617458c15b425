"""Stand-ins for the outside, with the same contracts as the adapters: for tests and for trying things out."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from muster_controller.testing_store import MemoryStore
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.ids import check_sha256

__all__ = ["ManualClock", "MemoryArtifactStore", "MemoryChangeFeed", "MemoryStore"]


class ManualClock:
    """``ports.Clock`` that moves only when it is told to."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now_ns += round(seconds * 1e9)
        self._monotonic_ns += round(seconds * 1e9)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards or back, as an operator or NTP may."""
        self._now_ns += round(seconds * 1e9)


class MemoryArtifactStore:
    """``ports.ArtifactStore`` over a dictionary; ``path`` writes the bytes to a temporary folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._artifacts: dict[str, bytes] = {}
        self._put_at_s: dict[str, float] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, source: Path) -> tuple[str, int]:
        try:
            data = source.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"expected a file, found none at {source}") from error
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._artifacts[sha256] = data
            self._put_at_s[sha256] = time.monotonic()
        return sha256, len(data)

    def size(self, sha256: str) -> int:
        return len(self._get(sha256))

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise InvalidInputError(f"expected a range of bytes, found offset {offset} and length {length}")
        return self._get(sha256)[offset : offset + length]

    def path(self, sha256: str) -> Path:
        data = self._get(sha256)
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="muster-artifacts-")
            target = Path(self._folder.name) / sha256
            if not target.exists():
                target.write_bytes(data)
        return target

    def iter_sha256s(self) -> Iterator[str]:
        with self._lock:
            return iter(tuple(self._artifacts))

    def remove(self, sha256: str, min_age_s: float = 0.0) -> bool:
        with self._lock:
            put_at_s = self._put_at_s.get(check_sha256(sha256))
            if put_at_s is None or (min_age_s > 0 and time.monotonic() - put_at_s < min_age_s):
                return False
            del self._artifacts[sha256], self._put_at_s[sha256]
            return True

    def close(self) -> None:
        """Delete what ``path`` wrote."""
        if self._folder is not None:
            self._folder.cleanup()

    def _get(self, sha256: str) -> bytes:
        with self._lock:
            data = self._artifacts.get(check_sha256(sha256))
        if data is None:
            raise NotFoundError(f"expected a stored artifact, found none with the sha256 {sha256}")
        return data


class MemoryChangeFeed:
    """``ports.ChangeFeed`` that also remembers what was published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[tuple[str, Callable[[], None]]] = []
        self.published: list[str] = []

    def publish(self, topic: str) -> None:
        with self._lock:
            self.published.append(topic)
            callbacks = [callback for wanted, callback in self._callbacks if wanted == topic]
        for callback in callbacks:
            callback()

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        entry = (topic, callback)
        with self._lock:
            self._callbacks.append(entry)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = [other for other in self._callbacks if other is not entry]

        return unsubscribe
