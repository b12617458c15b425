"""Read flatbuffer tables with every offset checked (https://flatbuffers.dev/internals/)."""

from __future__ import annotations

import struct

from muster_bench.errors import HostileArtifactError

_TABLE_COST = 64  # against 16 for each byte of the file; an honest table has 12 bytes at least


class Table:
    """One table of a flatbuffer; fields by their number in the schema."""

    def __init__(self, content: memoryview, at: int, budget: Budget) -> None:
        self._content = content
        self._at = at
        self._budget = budget
        self._fields = _fields(content, at)
        budget.spend(_TABLE_COST)

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar; ``kind`` is its ``struct`` letter."""
        at = self._field_at(field)
        return default if at is None else int(_unpack(self._content, kind, at))

    def table(self, field: int) -> Table | None:
        """A table, None when it is absent."""
        at = self._offset(field)
        return None if at is None else Table(self._content, at, self._budget)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, length = self._vector(field, 4)
        positions = [start + 4 * i for i in range(length)]
        return [Table(self._content, at + int(_unpack(self._content, "I", at)), self._budget) for at in positions]

    def integers(self, field: int, kind: str) -> list[int]:
        """A vector of scalars."""
        size = struct.calcsize(f"<{kind}")
        start, length = self._vector(field, size)
        return [int(value) for value in struct.unpack_from(f"<{length}{kind}", self._content, start)]

    def length(self, field: int, item_bytes: int) -> int:
        """How many items a vector has, all of them inside the file."""
        return self._vector(field, item_bytes)[1]

    def text(self, field: int) -> str:
        """A string, "" when it is absent."""
        start, length = self._vector(field, 1)
        self._budget.spend(length)
        return bytes(self._content[start : start + length]).decode("utf-8", "replace")

    def _field_at(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else None

    def _offset(self, field: int) -> int | None:
        at = self._field_at(field)
        return None if at is None else at + int(_unpack(self._content, "I", at))

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._offset(field)
        if at is None:
            return 0, 0
        length = int(_unpack(self._content, "I", at))
        if at + 4 + length * item_bytes > len(self._content):
            raise HostileArtifactError(f"malformed: a vector of {length} items reaches beyond the end of the file")
        self._budget.spend(length if item_bytes > 1 else 0)  # bytes are skipped over, not read
        return at + 4, length


class Budget:
    """What may be read. Tables can share parts, so that a small file describes a structure without end."""

    def __init__(self, file_bytes: int) -> None:
        self._left = 16 * file_bytes + 65_536

    def spend(self, size: int) -> None:
        """Raises:
        HostileArtifactError: far more was read than the file holds.
        """
        self._left -= size
        if self._left < 0:
            raise HostileArtifactError("malformed: its parts contain each other many times over")


def root_table(content: memoryview) -> Table:
    """The table that the file is about.

    Raises:
        HostileArtifactError: an offset points out of the file.
    """
    return Table(content, int(_unpack(content, "I", 0)), Budget(len(content)))


def _fields(content: memoryview, at: int) -> tuple[int, ...]:
    vtable = at - int(_unpack(content, "i", at))
    size = int(_unpack(content, "H", vtable)) if vtable >= 0 else 0
    if vtable < 0 or size < 4 or size % 2 or vtable + size > len(content):
        raise HostileArtifactError("malformed: a table's layout points out of the file")
    return struct.unpack_from(f"<{size // 2 - 2}H", content, vtable + 4)


def _unpack(content: memoryview, kind: str, at: int) -> int:
    if at < 0 or at + struct.calcsize(f"<{kind}") > len(content):
        raise HostileArtifactError("malformed or truncated: an offset points out of the file")
    value: int = struct.unpack_from(f"<{kind}", content, at)[0]
    return value
