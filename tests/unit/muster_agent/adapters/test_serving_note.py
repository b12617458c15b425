"""The note of what is active that the running agent leaves for ``status`` and ``doctor``."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from muster_agent.adapters.serving_note import NAME, ServingNote, read_serving_note


def mine(pid: int) -> bool:
    return pid == os.getpid()


def test_the_newest_note_counts_also_after_a_longer_one(tmp_path: Path) -> None:
    many = {f"model-{number}": "v" * 60 for number in range(200)}
    with closing(ServingNote((lambda: tmp_path,))) as note:
        note.write({})
        assert read_serving_note((tmp_path,), mine) == {}
        note.write(many)
        assert read_serving_note((tmp_path,), mine) == many
        note.write({"digits": "digits.v1.int8"})
        assert read_serving_note((tmp_path,), mine) == {"digits": "digits.v1.int8"}
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_a_torn_note_and_one_of_another_process_count_as_none(tmp_path: Path) -> None:
    assert read_serving_note((tmp_path,), mine) == {}
    with closing(ServingNote((lambda: tmp_path,))) as note:
        note.write({"digits": "digits.v1.int8"})
    assert read_serving_note((tmp_path,), lambda pid: False) == {}
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes().replace(b"int8", b"fp32"))
    assert read_serving_note((tmp_path,), mine) == {}
