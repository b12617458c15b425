"""An artifact's range as a stream of blocks, one read ahead of the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from muster_protos.errors import InvalidInputError, TemporaryError
from muster_protos.limits import CHUNK_BYTES

BLOCK_BYTES = 8 * CHUNK_BYTES  # a running fetch holds at most two blocks

ReadBlock = Callable[[int, int], Awaitable[tuple[bytes, int]]]  # (offset, length) -> (bytes, total bytes)


async def stream_range(read: ReadBlock, offset: int, length: int) -> AsyncGenerator[tuple[int, bytes, int], None]:
    """Yield (offset, block, total bytes) from ``offset`` for ``length`` bytes, 0 = to the end; at least one block.

    Raises:
        InvalidInputError: the range does not lie within the artifact.
        TemporaryError: the store has fewer bytes than it said.
    """
    if offset < 0 or length < 0:
        raise InvalidInputError(f"expected a range of an artifact, found offset {offset} and length {length}")
    block, total_bytes = await read(offset, min(BLOCK_BYTES, length or BLOCK_BYTES))
    if offset > total_bytes:
        raise InvalidInputError(f"expected an offset within {total_bytes} bytes, found {offset}")
    end = min(total_bytes, offset + length) if length else total_bytes
    while True:
        following = offset + len(block)
        if not block and following < end:
            raise TemporaryError(f"expected {total_bytes} bytes, found only {offset}")
        ahead = asyncio.ensure_future(read(following, min(BLOCK_BYTES, end - following))) if following < end else None
        try:
            yield offset, block, total_bytes
            if ahead is None:
                return
            block, _ = await ahead
        finally:
            if ahead is not None and not ahead.done():
                ahead.cancel()
        offset = following
