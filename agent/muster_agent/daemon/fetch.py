"""The fetch step: an artifact from the controller into the cache, from where a partial file ends."""

from __future__ import annotations

import logging
import threading

from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_protos.errors import TemporaryError
from muster_protos.model import ArtifactRef, Chunk, Progress

log = logging.getLogger(__name__)

_SPARE_BYTES = 8 * 1024 * 1024  # left free for state and logs


def fetch(ref: ArtifactRef, parts: Parts, outbox: Outbox, stop: threading.Event) -> None:
    """Blocking; resumes by range.

    Raises:
        TemporaryError: the link broke, the bytes were wrong or the disk is full; what is good stays.
        NotFoundError: the controller does not have it; final.
        InterruptedError: ``stop`` was set.
    """
    offset = parts.cache.partial_bytes().get(ref.sha256, 0)
    free_bytes = parts.cache.free_bytes()
    if ref.size_bytes - offset > free_bytes - _SPARE_BYTES:
        raise TemporaryError(
            f"disk full: artifact {ref.sha256[:12]} needs {ref.size_bytes - offset} bytes, {free_bytes} are free", 5.0
        )
    if offset < ref.size_bytes:
        log.info("fetching %s from byte %d of %d", ref.sha256[:12], offset, ref.size_bytes)
        parts.link.fetch(ref.sha256, offset, _Receiver(ref, offset, parts, outbox, stop).take, stop)
    if stop.is_set():
        raise InterruptedError
    parts.cache.finish(ref)
    outbox.progress(Progress("fetch", ref.sha256, float(ref.size_bytes), float(ref.size_bytes)))


class _Receiver:
    """Appends chunks in order."""

    def __init__(self, ref: ArtifactRef, offset: int, parts: Parts, outbox: Outbox, stop: threading.Event) -> None:
        self._ref = ref
        self._offset = offset
        self._parts = parts
        self._outbox = outbox
        self._stop = stop

    def take(self, chunk: Chunk) -> None:
        if self._stop.is_set():
            raise InterruptedError
        if chunk.offset != self._offset or chunk.total_bytes not in (0, self._ref.size_bytes):
            raise TemporaryError(
                f"expected byte {self._offset} of {self._ref.size_bytes} of artifact {self._ref.sha256[:12]}, "
                f"received a chunk at {chunk.offset} of {chunk.total_bytes}"
            )
        self._parts.cache.append(self._ref, chunk.offset, chunk.data)
        self._offset += len(chunk.data)
        self._outbox.progress(Progress("fetch", self._ref.sha256, float(self._offset), float(self._ref.size_bytes)))
