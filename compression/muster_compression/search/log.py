"""``search.jsonl`` in the output folder: every finished point, so that an interrupted search goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from muster_compression.search.lock import lock
from muster_compression.search.point import Point
from muster_protos.errors import ConflictError, InvalidInputError

LOG_FILE = "search.jsonl"
_POINT = TypeAdapter(Point)


class SearchLog:
    """One line says which search it is, then one line per point; a line that was cut off does not count.

    Open, it is locked: a folder holds one search at a time. Close it, or end the process.
    """

    def __init__(self, stream: BinaryIO, points: Sequence[Point]) -> None:
        self._stream = stream
        self.points = list(points)

    def __enter__(self) -> SearchLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @staticmethod
    def open(folder: Path, identity: str) -> SearchLog:
        """The log of this very search, or a new one.

        Raises:
            ConflictError: another process searches in this folder.
            InvalidInputError: the folder holds another search.
        """
        path = folder / LOG_FILE
        stream = path.open("a+b")
        try:
            lock(stream.fileno(), folder)
            return SearchLog(stream, _points(stream, path, identity))
        except (ConflictError, InvalidInputError):
            stream.close()
            raise

    def append(self, point: Point) -> None:
        """Keep a finished point; it is on disk when this returns."""
        _write(self._stream, _POINT.dump_json(point))
        self.points.append(point)


def _points(stream: BinaryIO, path: Path, identity: str) -> list[Point]:
    """What is there, after a line that was cut off is gone and the first line is written."""
    stream.seek(0)
    whole = [line for line in stream.read().splitlines(keepends=True) if line.endswith(b"\n")]
    stream.truncate(sum(len(line) for line in whole))
    if not whole:
        _write(stream, json.dumps({"search": identity}).encode())
        return []
    try:
        found = json.loads(whole[0])["search"]
        points = [_POINT.validate_json(line) for line in whole[1:]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: expected the log of a search, found something else; remove it") from error
    if found != identity:
        raise InvalidInputError(
            f"{path.parent} holds a search with another model, data, recipe, floor, seed, number of threads, code or "
            f"versions: choose another folder, or remove {LOG_FILE}"
        )
    return points


def _write(stream: BinaryIO, line: bytes) -> None:
    stream.write(line + b"\n")
    stream.flush()
    os.fsync(stream.fileno())
