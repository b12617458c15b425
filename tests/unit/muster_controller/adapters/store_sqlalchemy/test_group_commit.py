"""Batches share transactions, and a bad one harms nobody else."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from muster_controller.adapters.store_sqlalchemy import group_commit
from muster_controller.adapters.store_sqlalchemy.group_commit import GroupCommit
from muster_protos.errors import TemporaryError


class Disk:
    """Commits that can be held up, so that callers gather; 'bad' fails for good, 'known' is not new."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.is_full = False
        self.endings = 0

    def commit(self, items: Sequence[str]) -> tuple[str | None, ...]:
        self.begun.set()
        assert self.go_on.wait(20)
        if self.is_full:
            raise TemporaryError("full")
        if "bad" in items:
            raise ValueError("bad")
        if self.endings and items != ["first"]:
            self.endings -= 1
            raise KeyboardInterrupt
        self.commits.append(list(items))
        return tuple(None if item == "known" else item for item in items)


def gathered(disk: Disk, batches: Sequence[Sequence[str]]) -> list[object]:
    """What each batch's caller got, when all of ``batches`` arrive while a first commit holds the disk."""
    commits: GroupCommit[str, str] = GroupCommit(disk.commit)
    outcomes: list[object] = [None] * (len(batches) + 1)

    def run(number: int, batch: Sequence[str]) -> None:
        try:
            outcomes[number] = commits.submit(batch)
        except (TemporaryError, ValueError, KeyboardInterrupt) as error:
            outcomes[number] = error

    disk.go_on.clear()
    threads = [threading.Thread(target=run, args=(0, ["first"]))]
    threads[0].start()
    assert disk.begun.wait(20)
    for number, batch in enumerate(batches, start=1):
        threads.append(threading.Thread(target=run, args=(number, batch)))
        threads[-1].start()
        wait_until_queued(commits, number)
    disk.go_on.set()
    for thread in threads:
        thread.join(20)
    return outcomes[1:]


def wait_until_queued(commits: GroupCommit[str, str], count: int) -> None:
    for _ in range(2_000_000):
        if len(commits._queue) >= count:
            return
    raise AssertionError("the batch never arrived")


def test_a_single_batch_gets_back_what_was_new() -> None:
    disk = Disk()
    assert GroupCommit(disk.commit).submit(["a", "known", "b"]) == ("a", "b")
    assert GroupCommit(disk.commit).submit([]) == ()


def test_batches_that_arrive_during_a_commit_share_the_next_one() -> None:
    disk = Disk()
    assert gathered(disk, [["a"], ["b", "known"], ["c"]]) == [("a",), ("b",), ("c",)]
    assert disk.commits == [["first"], ["a", "b", "known", "c"]]


def test_a_batch_that_fails_for_good_fails_alone() -> None:
    disk = Disk()
    good, bad, also_good = gathered(disk, [["a"], ["bad"], ["c"]])
    assert (good, also_good) == (("a",), ("c",))
    assert isinstance(bad, ValueError)
    assert disk.commits == [["first"], ["a"], ["c"]]


def test_a_full_disk_fails_everybody_and_is_not_tried_again_at_once() -> None:
    disk = Disk()
    disk.is_full = True
    outcomes = gathered(disk, [["a"], ["b"]])
    assert all(isinstance(outcome, TemporaryError) for outcome in outcomes)


def test_a_group_is_cut_where_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "LARGEST_GROUP", 3)
    disk = Disk()
    gathered(disk, [["a", "b"], ["c"], ["d"], ["e"] * 5])
    assert disk.commits == [["first"], ["a", "b", "c"], ["d"], ["e"] * 5]


def test_a_thread_that_is_ended_in_the_middle_takes_nobody_along() -> None:
    disk = Disk()
    disk.endings = 1
    outcomes = gathered(disk, [["a"], ["b"], ["c"]])
    assert sum(isinstance(outcome, KeyboardInterrupt) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 2
    assert disk.commits == [["first"], ["a", "b", "c"]]
