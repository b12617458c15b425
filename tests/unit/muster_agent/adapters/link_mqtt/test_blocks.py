"""Which blocks are asked for, and in which order they are handed on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.adapters.link_mqtt.blocks import BlockWindow
from muster_protos.errors import TemporaryError
from muster_protos.limits import BLOCK_BYTES, MAX_BLOCKS_OUTSTANDING
from muster_protos.model import Chunk


def block(offset: int, total_bytes: int) -> Chunk:
    return Chunk(offset, bytes(min(BLOCK_BYTES, max(0, total_bytes - offset))), total_bytes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 25 * BLOCK_BYTES), st.floats(0, 1), st.integers(0, 2**32))
def test_every_byte_comes_once_in_order_from_a_lossy_doubling_disordered_link(
    total_bytes: int, share: float, seed: int
) -> None:
    chance = random.Random(seed)
    start = int(share * total_bytes)
    window = BlockWindow(start, timeout_s=5.0, now_s=0.0)
    under_way: list[int] = []
    got: list[Chunk] = []
    now_s = 0.0
    while not window.is_complete:
        now_s += 1.0 if under_way else 100.0
        asked = window.due(now_s)
        under_way += [offset for offset in asked if chance.random() > 0.2]
        chance.shuffle(under_way)
        assert len(set(under_way)) <= 3 * MAX_BLOCKS_OUTSTANDING
        if under_way:
            offset = under_way.pop() if chance.random() > 0.1 else under_way[0]
            got += window.take(block(offset, total_bytes), now_s)
        assert now_s < 100_000
    assert [chunk.offset for chunk in got] == list(range(start, total_bytes, BLOCK_BYTES)) or (
        total_bytes == start and [chunk.offset for chunk in got] == [start]
    )
    assert sum(len(chunk.data) for chunk in got) == total_bytes - start


def test_one_block_at_first_and_never_more_than_eight() -> None:
    total_bytes = 100 * BLOCK_BYTES
    window = BlockWindow(0, 5.0, 0.0)
    waiting = list(window.due(0.0))
    assert waiting == [0]
    most = 0
    while not window.is_complete:
        window.take(block(waiting.pop(0), total_bytes), 0.0)
        waiting += window.due(0.0)
        most = max(most, len(waiting))
    assert most == MAX_BLOCKS_OUTSTANDING


def test_blocks_that_came_early_count_until_they_are_handed_on() -> None:
    total_bytes = 100 * BLOCK_BYTES
    window = BlockWindow(0, 5.0, 0.0)
    window.due(0.0)
    window.take(block(0, total_bytes), 0.0)
    held, *others = window.due(0.0)  # the first one stays away
    while others:
        assert window.take(block(others.pop(0), total_bytes), 1.0) == ()
        others += window.due(1.0)
    ready = window.take(block(held, total_bytes), 2.0)
    assert 1 < len(ready) <= MAX_BLOCKS_OUTSTANDING


def test_lost_blocks_are_asked_for_again_one_first_and_later_each_time() -> None:
    total_bytes = 100 * BLOCK_BYTES
    window = BlockWindow(0, 5.0, 0.0)
    window.due(0.0)
    window.take(block(0, total_bytes), 0.0)
    lost = window.due(0.0)
    assert len(lost) == 2
    assert window.due(5.0) == ()
    assert window.due(5.1) == lost[:1]
    assert window.due(14.0) == ()  # ten seconds this time
    assert window.due(15.2) == lost[:1]
    window.take(block(lost[0], total_bytes), 16.0)
    assert lost[1] in window.due(16.0)


def test_slow_link_is_not_asked_twice_once_its_pace_is_known() -> None:
    total_bytes = 20 * BLOCK_BYTES
    window = BlockWindow(0, 5.0, 0.0)
    waiting = list(window.due(0.0))
    asked, now_s = 1, 0.0
    while not window.is_complete:
        now_s += 4.0  # 128 kbit/s
        window.take(block(waiting.pop(0), total_bytes), now_s)
        again = window.due(now_s)
        waiting += again
        asked += len(again)
    assert asked == 20


@pytest.mark.parametrize(
    "answer",
    [
        Chunk(0, b"", 10),
        Chunk(0, bytes(9), 10),
        Chunk(0, bytes(11), 10),
        Chunk(0, bytes(BLOCK_BYTES + 1), 10 * BLOCK_BYTES),
        Chunk(0, b"x", -1),
    ],
)
def test_block_of_another_size_than_it_must_have_breaks_the_fetch(answer: Chunk) -> None:
    window = BlockWindow(0, 5.0, 0.0)
    window.due(0.0)
    with pytest.raises(TemporaryError):
        window.take(answer, 0.0)


def test_artifact_that_changes_its_size_breaks_the_fetch() -> None:
    window = BlockWindow(0, 5.0, 0.0)
    window.due(0.0)
    window.take(block(0, 3 * BLOCK_BYTES), 0.0)
    window.due(0.0)
    with pytest.raises(TemporaryError):
        window.take(block(BLOCK_BYTES, 4 * BLOCK_BYTES), 0.0)


def test_block_that_was_not_asked_for_is_nothing() -> None:
    window = BlockWindow(0, 5.0, 0.0)
    window.due(0.0)
    assert window.take(block(BLOCK_BYTES, 3 * BLOCK_BYTES), 0.0) == ()
    assert not window.is_complete


@pytest.mark.parametrize(
    ("block_s", "round_trip_s", "least", "most"),
    [(8.2, 0.1, 1, 3), (0.001, 4.0, MAX_BLOCKS_OUTSTANDING, MAX_BLOCKS_OUTSTANDING)],
    ids=["64 kbit/s", "4 s away"],
)
def test_a_slow_network_holds_few_blocks_and_a_far_one_many(
    block_s: float, round_trip_s: float, least: int, most: int
) -> None:
    total_bytes = 60 * BLOCK_BYTES
    window = BlockWindow(0, timeout_s=15.0, now_s=0.0)
    now_s = free_s = 0.0
    under_way: list[tuple[float, int]] = []  # (when it comes, offset), one after the other over one line
    held, asked = [], 0
    while not window.is_complete:
        for offset in window.due(now_s):
            free_s = max(free_s, now_s + round_trip_s / 2) + block_s
            under_way.append((free_s + round_trip_s / 2, offset))
            asked += 1
        held.append(len(under_way))
        now_s, offset = under_way.pop(0)
        window.take(block(offset, total_bytes), now_s)
    assert asked == 60, "nothing is asked for twice"
    assert max(held) <= most
    assert max(held[20:40]) >= least
