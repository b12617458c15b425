"""Small files below a root folder: /proc, /sys and /etc of this device, or a recorded copy of another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_LARGEST_BYTES = 1 << 20  # no file of /proc or /sys that we read is larger; a recorded tree may hold anything


def read_text(root: Path, path: str) -> str | None:
    """The stripped text of ``root/path`` without NULs at its end, or None when it cannot be read."""
    try:
        with (root / path).open("rb") as file:
            content = file.read(_LARGEST_BYTES)
    except OSError:
        return None
    return content.decode("utf-8", "replace").strip("\0 \t\r\n")


def read_int(root: Path, path: str) -> int | None:
    """The decimal number in ``root/path``, or None when it is missing or is no number."""
    text = read_text(root, path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def find(root: Path, pattern: str) -> Iterator[str]:
    """Paths relative to ``root`` that match the glob ``pattern``, in natural order (zone2 before zone10)."""
    try:
        found = [path.relative_to(root).as_posix() for path in root.glob(pattern)]
    except OSError:
        found = []
    yield from sorted(found, key=_natural)


def exists(root: Path, path: str) -> bool:
    """Whether there is something at ``root/path``."""
    try:
        return (root / path).exists()
    except OSError:
        return False


def _natural(path: str) -> tuple[tuple[int, str], ...]:
    runs: list[str] = []
    for letter in path:
        if runs and letter.isdecimal() == runs[-1].isdecimal():
            runs[-1] += letter
        else:
            runs.append(letter)
    return tuple((int(run), "") if run.isdecimal() else (-1, run) for run in runs)
