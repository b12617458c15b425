import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.adapters.link_grpc.ranges import BLOCK_BYTES, stream_range
from muster_protos.errors import InvalidInputError, TemporaryError

CONTENT = bytes(range(256)) * (BLOCK_BYTES * 5 // 512)  # two and a half blocks


async def read(offset: int, length: int) -> tuple[bytes, int]:
    return CONTENT[offset : offset + length], len(CONTENT)


async def collect(offset: int, length: int) -> list[tuple[int, bytes, int]]:
    return [block async for block in stream_range(read, offset, length)]


@given(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT) + 5))
def test_blocks_are_the_range_in_order(offset: int, length: int) -> None:
    blocks = asyncio.run(collect(offset, length))
    end = offset + length if length else len(CONTENT)
    assert b"".join(block for _, block, _ in blocks) == CONTENT[offset:end]
    assert blocks[0][0] == offset
    for (start, block, total), (following, _, _) in itertools.pairwise(blocks):
        assert start + len(block) == following
        assert 0 < len(block) <= BLOCK_BYTES
        assert total == len(CONTENT)


@pytest.mark.parametrize(("offset", "length"), [(-1, 0), (0, -1), (len(CONTENT) + 1, 0)])
async def test_range_outside_the_artifact_is_refused(offset: int, length: int) -> None:
    with pytest.raises(InvalidInputError):
        await collect(offset, length)


async def test_store_that_shrinks_meanwhile_is_a_temporary_error() -> None:
    async def shrinking(offset: int, length: int) -> tuple[bytes, int]:
        return (CONTENT[:length] if offset == 0 else b""), len(CONTENT)

    with pytest.raises(TemporaryError):
        async for _ in stream_range(shrinking, 0, 0):
            pass


async def test_reader_that_leaves_early_leaves_no_read_behind() -> None:
    started = asyncio.Event()

    async def endless(offset: int, length: int) -> tuple[bytes, int]:
        if offset:
            started.set()
            await asyncio.Event().wait()
        return CONTENT[:length], len(CONTENT)

    blocks = stream_range(endless, 0, 0)
    await blocks.__anext__()
    await started.wait()
    await blocks.aclose()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
