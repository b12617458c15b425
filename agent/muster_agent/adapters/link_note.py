"""Where the running agent leaves how it stands with its controller, for ``status`` and ``doctor``.

One line of a fixed length, overwritten in place: a file that is there once takes it on a full disk and with no
descriptor left, too. On a disk that takes nothing it goes to the spare folder. It means nothing after the agent's end.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster_agent.core.link_state import LinkState, Standing
from muster_protos.errors import PermanentError

log = logging.getLogger(__name__)

NAME = "link.note"
_BYTES = 1024
_MAX_REASON = 300
_READS = 3


@dataclass(slots=True)
class _File:
    folder: Callable[[], Path]
    descriptor: int | None = None


class LinkNote:
    """Written by the daemon's loop; ``close`` after it."""

    def __init__(self, folders: Sequence[Callable[[], Path]]) -> None:
        self._files = tuple(_File(folder) for folder in folders)
        self._count = 0

    def write(self, state: LinkState) -> None:
        """Into the first folder that takes it; a note that cannot be left costs nothing but an answer."""
        self._count += 1
        content = _encode(state, self._count)
        problem = ""
        for file in self._files:
            try:
                if file.descriptor is None:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    file.descriptor = os.open(file.folder() / NAME, flags, 0o600)
                if os.pwrite(file.descriptor, content, 0) == len(content):
                    return
                problem = "the disk is full"
            except (OSError, PermanentError) as error:
                problem = str(error)
        log.info("the state of the link is not noted: %s", problem)

    def close(self) -> None:
        for file in self._files:
            if file.descriptor is not None:
                os.close(file.descriptor)
                file.descriptor = None


def read_link_note(folders: Sequence[Path], is_writer: Callable[[int], bool]) -> LinkState | None:
    """The newest note of a process that ``is_writer``; None when there is none."""
    notes = [note for folder in folders if (note := _read(folder / NAME)) is not None and is_writer(note[0])]
    return max(notes, key=lambda note: note[1])[2] if notes else None


def _encode(state: LinkState, count: int) -> bytes:
    reason = "".join(sign if sign.isprintable() else " " for sign in state.reason[:_MAX_REASON])
    while True:
        fields = [os.getpid(), count, state.standing.value, state.since_ns, reason, state.link]
        text = json.dumps(fields).encode()
        if len(text) <= _BYTES - 10:
            text = text.ljust(_BYTES - 10)
            return b"%08x %s\n" % (binascii.crc32(text), text)
        reason = reason[: len(reason) // 2]  # signs that take six bytes each


def _read(path: Path) -> tuple[int, int, LinkState] | None:
    for _ in range(_READS):  # the agent may be writing just now
        try:
            content = path.read_bytes()[:_BYTES]
            text = content[9 : _BYTES - 1]
            if int(content[:8], 16) != binascii.crc32(text):
                continue
            pid, count, standing, since_ns, reason, link = json.loads(text)
            return int(pid), int(count), LinkState(Standing(standing), int(since_ns), str(reason), str(link))
        except (OSError, ValueError, TypeError):
            continue
    return None
