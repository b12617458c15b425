"""All nouns in one store."""

from __future__ import annotations

from pathlib import Path

from muster_controller.adapters.store_sqlalchemy.benchmarks import BenchmarkRows
from muster_controller.adapters.store_sqlalchemy.desired import DesiredRows
from muster_controller.adapters.store_sqlalchemy.devices import DeviceRows
from muster_controller.adapters.store_sqlalchemy.feed import FeedRows
from muster_controller.adapters.store_sqlalchemy.fleet import FleetRows
from muster_controller.adapters.store_sqlalchemy.models import ModelRows
from muster_controller.adapters.store_sqlalchemy.reports import ReportRows
from muster_controller.adapters.store_sqlalchemy.rollouts import RolloutRows
from muster_controller.adapters.store_sqlalchemy.sound import check_sound
from muster_controller.adapters.store_sqlalchemy.transactions import BUSY_TIMEOUT_S, open_sqlite


class SqlAlchemyStore(FleetRows, DeviceRows, ModelRows, DesiredRows, BenchmarkRows, ReportRows, RolloutRows, FeedRows):
    """``ports.Store`` over one database. Thread-safe; holds no state beside its connections."""


def open_store(path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S, is_expected: bool = False) -> SqlAlchemyStore:
    """The store in the SQLite file ``path``; its folder must exist. ``is_expected``: a fleet has been here before.

    Raises:
        TemporaryError: another process holds the file, or the disk is full.
        PermanentError: it is damaged, missing though expected, no such database, or a newer version wrote it.
    """
    check_sound(path, is_expected)
    return SqlAlchemyStore(open_sqlite(path, busy_timeout_s), busy_timeout_s)
