"""A mergeable latency sketch: a histogram whose buckets grow by a constant factor. Needs no numpy.

DDSketch's mapping (Masson, Rim, Lee: DDSketch, VLDB 2019): bucket i holds values in (g^(i-1), g^i] with
g = (1 + a) / (1 - a); every quantile is then exact to the relative error a, also after merging. Here a = 1 %.

Bytes: "MSK1", then unsigned LEB128 varints: zeros, first index, number of buckets, their counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from muster_protos.errors import CodecError, InvalidInputError

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_MAGIC = b"MSK1"
_MAX_BUCKET = math.ceil(63 * math.log(2) / _LOG_GAMMA)  # an int64 of ns


@dataclass(frozen=True, slots=True)
class LatencySketch:
    """Counts by bucket; ``zeros`` counts values of 0 ns."""

    counts: Counter[int] = field(default_factory=Counter)
    zeros: int = 0

    @property
    def n(self) -> int:
        """How many values it has seen."""
        return self.zeros + sum(self.counts.values())

    def merged(self, other: LatencySketch) -> LatencySketch:
        """The sketch of both samples together."""
        return LatencySketch(self.counts + other.counts, self.zeros + other.zeros)

    def quantile(self, q: float) -> float | None:
        """The value in ns that a share ``q`` of the sample does not exceed, to 1 %; None when it is empty.

        Raises:
            InvalidInputError: ``q`` is not in [0, 1].
        """
        if not 0.0 <= q <= 1.0:
            raise InvalidInputError(f"expected a quantile between 0 and 1, found {q}")
        if self.n == 0:
            return None
        rank = max(1, math.ceil(q * self.n)) - self.zeros
        if rank <= 0:
            return 0.0
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return float(2 * _GAMMA**bucket / (_GAMMA + 1))
        raise AssertionError("a rank lies within the counts")


def sketch_of(latencies_ns: Iterable[int]) -> LatencySketch:
    """Count every latency.

    Raises:
        InvalidInputError: one is negative.
    """
    counts: Counter[int] = Counter()
    zeros = 0
    for value, times in Counter(latencies_ns).items():
        if value < 0:
            raise InvalidInputError(f"expected latencies of at least 0 ns, found {value}")
        if value == 0:
            zeros += times
        else:
            counts[math.ceil(math.log(value) / _LOG_GAMMA)] += times
    return LatencySketch(counts, zeros)


def encode_sketch(sketch: LatencySketch) -> bytes:
    """Its bytes; about 1 per bucket that is used or lies between used ones."""
    first = min(sketch.counts, default=0)
    length = max(sketch.counts, default=-1) - first + 1 if sketch.counts else 0
    numbers = [sketch.zeros, first, length, *(sketch.counts.get(first + i, 0) for i in range(length))]
    return _MAGIC + b"".join(_varint(number) for number in numbers)


def decode_sketch(payload: bytes) -> LatencySketch:
    """The sketch of ``payload``.

    Raises:
        CodecError: these are not the bytes of a sketch.
    """
    if payload[:4] != _MAGIC:
        raise CodecError("expected a latency sketch, found other bytes")
    numbers = _numbers(payload[4:])
    if len(numbers) < 3 or len(numbers) != 3 + numbers[2] or numbers[1] + numbers[2] > _MAX_BUCKET + 1:
        raise CodecError(f"expected a whole latency sketch, found {len(payload)} bytes that are not one")
    zeros, first, _, *counts = numbers
    return LatencySketch(Counter({first + i: count for i, count in enumerate(counts) if count}), zeros)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(payload: bytes) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in payload:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise CodecError("a number in the latency sketch is too long")
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    if shift:
        raise CodecError("the latency sketch is cut off")
    return numbers
