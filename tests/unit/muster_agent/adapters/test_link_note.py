"""The note that the running agent leaves for ``status`` and ``doctor``."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from muster_agent.adapters.link_note import NAME, LinkNote, read_link_note
from muster_agent.core.link_state import LinkState, Standing


def mine(pid: int) -> bool:
    return pid == os.getpid()


@pytest.mark.parametrize("reason", ["", "reset", "\u4e16" * 1000, "a\x1b[31m\nb"])
def test_what_is_written_is_read_in_a_file_that_never_grows(tmp_path: Path, reason: str) -> None:
    with closing(LinkNote((lambda: tmp_path,))) as note:
        note.write(LinkState(Standing.ONLINE, 1, "", "grpc"))
        size = (tmp_path / NAME).stat().st_size
        note.write(LinkState(Standing.OFFLINE, 2, reason, "mqtt"))
    found = read_link_note((tmp_path,), mine)
    assert found is not None
    assert (found.standing, found.since_ns, found.link) == (Standing.OFFLINE, 2, "mqtt")
    assert reason.startswith(found.reason) or found.reason == "a [31m b"
    assert bool(found.reason) == bool(reason)
    assert (tmp_path / NAME).stat().st_size == size
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_a_folder_that_takes_nothing_costs_only_its_note_and_the_newest_counts(tmp_path: Path) -> None:
    first, spare = tmp_path / "first", tmp_path / "spare"
    spare.mkdir()
    with closing(LinkNote((lambda: first, lambda: spare))) as note:
        note.write(LinkState(Standing.OFFLINE, 1, "start"))
        first.mkdir()  # it takes something again
        note.write(LinkState(Standing.ONLINE, 2))
        assert read_link_note((spare,), mine) == LinkState(Standing.OFFLINE, 1, "start")
        assert read_link_note((first, spare), mine) == LinkState(Standing.ONLINE, 2)
    with closing(LinkNote((lambda: tmp_path / "none",))) as note:
        note.write(LinkState(Standing.ONLINE, 3))  # raises nothing


def test_a_torn_note_and_one_of_another_process_count_as_none(tmp_path: Path) -> None:
    with closing(LinkNote((lambda: tmp_path,))) as note:
        note.write(LinkState(Standing.ONLINE, 1, "", "grpc"))
    assert read_link_note((tmp_path,), lambda pid: False) is None
    content = (tmp_path / NAME).read_bytes()
    for torn in (b"", content[:40], content.replace(b"online", b"onlinf"), b"x" * 1024):
        (tmp_path / NAME).write_bytes(torn)
        assert read_link_note((tmp_path,), mine) is None
