"""Walk the fields of a protobuf message without its schema (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Iterator

from muster_bench.errors import HostileArtifactError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


def walk(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value); a length-delimited or fixed value is a view of its bytes.

    Raises:
        HostileArtifactError: the bytes are no message, or are cut off.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise HostileArtifactError("not a protobuf message: it has a field number 0")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        if kind == LENGTH:
            size, at = _varint(message, at)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise HostileArtifactError(f"not a protobuf message: it has the wire type {kind}")
        if at + size > end:
            raise HostileArtifactError(f"truncated: field {number} says {size} bytes, {end - at} are there")
        yield number, kind, message[at : at + size]
        at += size


def view(value: int | memoryview) -> memoryview:
    """``value`` as bytes.

    Raises:
        HostileArtifactError: it is a number.
    """
    if isinstance(value, int):
        raise HostileArtifactError("malformed: a number stands where a message should")
    return value


def text(value: int | memoryview) -> str:
    """``value`` as text, with replacements for what is not UTF-8.

    Raises:
        HostileArtifactError: it is a number.
    """
    return bytes(view(value)).decode("utf-8", "replace")


def signed(value: int) -> int:
    """A varint as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(value: int | memoryview) -> list[int]:
    """A repeated int64 field's part, packed or not."""
    if isinstance(value, int):
        return [signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(signed(number))
    return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise HostileArtifactError("truncated inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise HostileArtifactError("not a protobuf message: a number is longer than 10 bytes")
