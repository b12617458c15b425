"""Every store that must keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.ports import Store
from muster_controller.testing import MemoryStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened: Store = MemoryStore() if request.param == "memory" else open_store(tmp_path / "fleet.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite store may lie."""
    return tmp_path / "fleet.sqlite3"
