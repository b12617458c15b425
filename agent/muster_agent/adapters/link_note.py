"""Where the running agent leaves how it stands with its controller, for ``status`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from muster_agent.core.link_state import LinkState, Standing
from muster_agent.note_file import NoteFile, line, read_newest

NAME = "link.note"
_BYTES = 1024
_MAX_REASON = 300
_LONGEST_PID_AND_COUNT = (2**32, 2**63)


class LinkNote:
    """Written by the daemon's loop; ``close`` after it. A line of a fixed length."""

    def __init__(self, folders: Sequence[Callable[[], Path]]) -> None:
        self._file = NoteFile(NAME, folders)

    def write(self, state: LinkState) -> None:
        """A note that cannot be left costs nothing but an answer."""
        reason = "".join(sign if sign.isprintable() else " " for sign in state.reason[:_MAX_REASON])
        while True:
            fields = [state.standing.value, state.since_ns, reason, state.link]
            if not reason or len(line([*_LONGEST_PID_AND_COUNT, *fields], 0)) <= _BYTES:
                self._file.write(fields, _BYTES)
                return
            reason = reason[: len(reason) // 2]  # signs that take six bytes each

    def close(self) -> None:
        self._file.close()


def read_link_note(folders: Sequence[Path], is_writer: Callable[[int], bool]) -> LinkState | None:
    """The newest note of a process that ``is_writer``; None when there is none."""
    match read_newest(NAME, folders, is_writer):
        case [str(standing), int(since_ns), str(reason), str(link)] if standing in {item.value for item in Standing}:
            return LinkState(Standing(standing), since_ns, reason, link)
    return None
