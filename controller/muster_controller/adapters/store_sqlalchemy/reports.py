"""Reports, exactly once, and the records in them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CursorResult, Engine, delete, select

from muster_controller.adapters.store_sqlalchemy.group_commit import GroupCommit
from muster_controller.adapters.store_sqlalchemy.paging import one, page_by_position
from muster_controller.adapters.store_sqlalchemy.report_batch import ReportBatch
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import RECORDS, REPORTS
from muster_controller.adapters.store_sqlalchemy.transactions import BUSY_TIMEOUT_S, Transactions
from muster_controller.core.entities import StoredReport
from muster_controller.core.unfold import Unfolded, unfold
from muster_controller.ports import Page
from muster_protos import codec
from muster_protos.model import BenchmarkRecord

_REPORT = RowShape(StoredReport)


class ReportRows(Transactions):
    """Tables ``reports`` and ``records``."""

    def __init__(self, engine: Engine, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(engine, busy_timeout_s)
        self._commits: GroupCommit[Unfolded, StoredReport] = GroupCommit(self._commit)

    def store_reports(self, reports: Sequence[StoredReport]) -> tuple[StoredReport, ...]:
        if not reports:
            return ()
        return self._commits.submit([unfold(report) for report in reports])

    def _commit(self, items: Sequence[Unfolded]) -> tuple[StoredReport | None, ...]:
        """Store what is new in one transaction; None for a report that was known."""
        with self._writing() as connection:
            batch = ReportBatch(connection, (item.report for item in items))
            stored = tuple(batch.add(item) for item in items)
            batch.write()
        return stored

    def list_reports(
        self, device_id: str | None = None, is_rejected: bool | None = None, cursor: str = "", limit: int = 100
    ) -> Page[StoredReport]:
        query = select(REPORTS)
        if device_id is not None:
            query = query.where(REPORTS.c.device_id == device_id)
        if is_rejected is not None:
            query = query.where((REPORTS.c.rejected_reason != "") == is_rejected)
        with self._reading() as connection:
            return page_by_position(
                connection, query, REPORTS.c.position, cursor, limit, _REPORT.value, is_newest_first=False
            )

    def prune_rejected_reports(self, before_ns: int) -> int:
        with self._writing() as connection:
            old = (REPORTS.c.rejected_reason != "") & (REPORTS.c.received_at_ns < before_ns)
            result: CursorResult[None] = connection.execute(delete(REPORTS).where(old))
            return result.rowcount

    def forget_reports(self, device_id: str) -> None:
        with self._writing() as connection:
            connection.execute(delete(REPORTS).where(REPORTS.c.device_id == device_id))

    def list_records(
        self,
        model_id: str | None = None,
        version: int | None = None,
        device_id: str | None = None,
        run_id: str | None = None,
        cursor: str = "",
        limit: int = 1000,
    ) -> Page[BenchmarkRecord]:
        query = select(RECORDS)
        wanted = {"model_id": model_id, "model_version": version, "device_id": device_id, "run_id": run_id}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(RECORDS.c[name] == value)
        with self._reading() as connection:
            return page_by_position(
                connection,
                query,
                RECORDS.c.arrival,
                cursor,
                limit,
                lambda row: codec.decode(BenchmarkRecord, row["record"]),
                is_newest_first=False,
            )

    def get_record(self, record_id: str) -> BenchmarkRecord:
        with self._reading() as connection:
            row = one(connection, select(RECORDS).where(RECORDS.c.record_id == record_id), f"record {record_id!r}")
        return codec.decode(BenchmarkRecord, row["record"])
