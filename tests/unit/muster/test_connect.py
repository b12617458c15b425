"""``muster.connect()`` against what is no controller: one error with one clear line, and no trace behind the trace."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import muster
from muster.settings import load_settings
from muster_protos.errors import MissingExtraError, UnreachableError, UsageError


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUSTER_URL", "MUSTER_TOKEN", "MUSTER_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MUSTER_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_nobody_listening_is_one_error_without_a_chain() -> None:
    with pytest.raises(UnreachableError, match=r"no controller at http://127.0.0.1:9 .*muster up") as caught:
        muster.connect("http://127.0.0.1:9")
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Traceback") == 1
    assert "httpx" not in shown


def test_an_address_that_is_none_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="expected a controller URL"):
        muster.connect("banana")


def test_a_missing_extra_is_named_without_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(MissingExtraError, match="muster-edge") as caught:
        muster.connect("http://127.0.0.1:9")
    assert caught.value.__suppress_context__


def test_settings_name_where_each_value_comes_from() -> None:
    assert load_settings({"url": "http://x"})["url"].origin == "flag"
