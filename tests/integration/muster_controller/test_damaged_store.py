"""A controller whose database is damaged refuses to start, in one line with the way out, and overwrites nothing."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.controller import UpOptions, run_controller
from muster_controller.service.fleet import ensure_fleet
from muster_controller.testing import ManualClock
from muster_protos.errors import PermanentError


@pytest.fixture
def data(tmp_path):
    """The data folder of a fleet that has been up."""
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "ca.pem").write_text("made at the first start")
    store = open_store(tmp_path / "fleet.sqlite3")
    ensure_fleet(store, ManualClock(), "lab")
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "fleet.sqlite3")) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    return tmp_path


def refusal(data) -> str:
    options = UpOptions(data=data, rest_port=0, grpc_port=0, join_port=0, has_device=False)
    with pytest.raises(PermanentError) as raised:
        run_controller(options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda content: b"garbage" * 5000, "no SQLite database"),
        (lambda content: bytes(len(content)), "no SQLite database"),
        (lambda content: b"", "nothing in it"),
        (lambda content: content[: len(content) // 2], "damage"),
        (lambda content: content[:8192] + bytes(16384) + content[24576:], "damage"),
        (lambda content: content[:100] + b"\xff" * 2000 + content[2100:], "damage"),
    ],
    ids=["garbage", "zeros", "empty", "truncated", "zeroed pages", "torn first page"],
)
def test_a_damaged_store_is_refused_and_left_as_it_is(data, damage, word):
    path = data / "fleet.sqlite3"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    line = refusal(data)
    assert word in line
    assert "muster import" in line
    assert "\n" not in line
    assert path.read_bytes() == before


def test_a_store_that_has_vanished_is_not_made_anew_beside_the_fleets_keys(data):
    (data / "fleet.sqlite3").unlink()
    assert "no such file" in refusal(data)
    assert not (data / "fleet.sqlite3").exists()


def test_a_first_start_makes_its_store(tmp_path):
    store = open_store(tmp_path / "fleet.sqlite3", is_expected=False)
    assert store.fleet() is None
    store.close()


def test_a_start_that_was_killed_before_its_tables_were_made_begins_again(tmp_path):
    (tmp_path / "fleet.sqlite3").touch()
    store = open_store(tmp_path / "fleet.sqlite3", is_expected=False)
    store.close()
