"""One line that the running agent overwrites in place, for commands that ask on the device itself.

A file that is there once takes it on a full disk and with no descriptor left, too. On a disk that takes nothing it goes
to the next folder. It means nothing after the agent's end.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster_protos.errors import PermanentError

log = logging.getLogger(__name__)

_READS = 3
_HEADER_BYTES = 9  # checksum and a space


@dataclass(slots=True)
class _File:
    folder: Callable[[], Path]
    descriptor: int | None = None


class NoteFile:
    """Written by the daemon's loop; ``close`` after it."""

    def __init__(self, name: str, folders: Sequence[Callable[[], Path]]) -> None:
        self._name = name
        self._files = tuple(_File(folder) for folder in folders)
        self._count = 0

    def write(self, fields: Sequence[object], size_bytes: int) -> None:
        """Into the first folder that takes it; a note that cannot be left costs nothing but an answer."""
        self._count += 1
        content = line([os.getpid(), self._count, *fields], size_bytes)
        problem = ""
        for file in self._files:
            try:
                if file.descriptor is None:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    file.descriptor = os.open(file.folder() / self._name, flags, 0o600)
                if os.pwrite(file.descriptor, content, 0) == len(content):
                    return
                problem = "the disk is full"
            except (OSError, PermanentError) as error:
                problem = str(error)
        log.info("%s is not written: %s", self._name, problem)

    def close(self) -> None:
        for file in self._files:
            if file.descriptor is not None:
                os.close(file.descriptor)
                file.descriptor = None


def line(fields: Sequence[object], size_bytes: int) -> bytes:
    """Padded to ``size_bytes``, with its checksum; longer where the fields are."""
    text = json.dumps(fields).encode().ljust(size_bytes - _HEADER_BYTES - 1)
    return b"%08x %s\n" % (binascii.crc32(text), text)


def read_newest(name: str, folders: Sequence[Path], is_writer: Callable[[int], bool]) -> list[object] | None:
    """The fields of the newest note of a process that ``is_writer``; None when there is none."""
    notes = [note for folder in folders if (note := _read(folder / name)) is not None and is_writer(note[0])]
    return max(notes, key=lambda note: note[1])[2] if notes else None


def _read(path: Path) -> tuple[int, int, list[object]] | None:
    for _ in range(_READS):  # the agent may be writing just now
        try:
            first = path.read_bytes().partition(b"\n")[0]
            text = first[_HEADER_BYTES:]
            if int(first[: _HEADER_BYTES - 1], 16) != binascii.crc32(text):
                continue
            pid, count, *fields = json.loads(text)
            return int(pid), int(count), fields
        except (OSError, ValueError, TypeError):
            continue
    return None
