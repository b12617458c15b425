"""Where the running agent leaves which variant of each model is active, for ``status`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from muster_agent.note_file import NoteFile, read_newest

NAME = "serving.note"
_BYTES = 4096  # longer with many models


class ServingNote:
    """Written by the daemon's loop; ``close`` after it."""

    def __init__(self, folders: Sequence[Callable[[], Path]]) -> None:
        self._file = NoteFile(NAME, folders)

    def write(self, active: Mapping[str, str]) -> None:
        """``active``: variant ids by model id, of what is up."""
        self._file.write([dict(active)], _BYTES)

    def close(self) -> None:
        self._file.close()


def read_serving_note(folders: Sequence[Path], is_writer: Callable[[int], bool]) -> dict[str, str]:
    """Variant ids by model id, of what is up; empty when nobody says."""
    match read_newest(NAME, folders, is_writer):
        case [dict(active)]:
            return {str(model_id): str(variant_id) for model_id, variant_id in active.items()}
    return {}
