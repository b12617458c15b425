"""``search.jsonl`` in the output folder: every finished point, so that an interrupted search goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from muster_compression.artifact import write_bytes
from muster_compression.search.point import Point
from muster_protos.errors import InvalidInputError

LOG_FILE = "search.jsonl"
_POINT = TypeAdapter(Point)


class SearchLog:
    """One line says which search it is, then one line per point; a line that was cut off does not count."""

    def __init__(self, path: Path, points: Sequence[Point]) -> None:
        self._path = path
        self.points = list(points)

    @staticmethod
    def open(folder: Path, identity: str) -> SearchLog:
        """The log of this very search, or a new one.

        Raises:
            InvalidInputError: the folder holds another search.
        """
        path = folder / LOG_FILE
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole:
            write_bytes(path, json.dumps({"search": identity}).encode() + b"\n")
            return SearchLog(path, [])
        try:
            found = json.loads(whole[0])["search"]
            points = [_POINT.validate_json(line) for line in whole[1:]]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{path}: expected the log of a search, found something else; remove it") from error
        if found != identity:
            raise InvalidInputError(
                f"{folder} holds a search with another model, data, recipe, floor or seed: choose another folder, or "
                f"remove {LOG_FILE}"
            )
        if len(whole) != len(lines):
            write_bytes(path, b"".join(whole))
        return SearchLog(path, points)

    def append(self, point: Point) -> None:
        """Keep a finished point; it is on disk when this returns."""
        with self._path.open("ab") as stream:
            stream.write(_POINT.dump_json(point) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.points.append(point)
