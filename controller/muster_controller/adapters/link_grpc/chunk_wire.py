"""A Chunk's bytes without building the message: protobuf would copy the data three times.

Wire format: https://protobuf.dev/programming-guides/encoding. A test holds this to protobuf's own bytes.
"""

from __future__ import annotations

_OFFSET = b"\x08"  # field 1, varint
_DATA = b"\x12"  # field 2, length-delimited
_TOTAL_BYTES = b"\x18"  # field 3, varint


def encode_chunk(offset: int, data: memoryview, total_bytes: int) -> bytes:
    """What ``Chunk(offset, data, total_bytes).SerializeToString()`` returns, with one copy of ``data``."""
    parts: list[bytes | memoryview] = []
    if offset:
        parts += [_OFFSET, _varint(offset)]
    if data:
        parts += [_DATA, _varint(len(data)), data]
    if total_bytes:
        parts += [_TOTAL_BYTES, _varint(total_bytes)]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
