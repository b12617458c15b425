"""Reports, exactly once, and the records in them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from muster_controller.adapters.store_sqlalchemy.feed import append_event
from muster_controller.adapters.store_sqlalchemy.paging import one, page_by_position, page_of
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import LOADS, RECORDS, REPORTS, REQUESTS
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import RequestState, StoredReport
from muster_controller.core.unfold import Unfolded, quarantine, unfold
from muster_controller.ports import Page
from muster_protos import codec
from muster_protos.model import BenchmarkRecord

_REPORT = RowShape(StoredReport)


class ReportRows(Transactions):
    """Tables ``reports`` and ``records``."""

    def store_reports(self, reports: Sequence[StoredReport]) -> tuple[StoredReport, ...]:
        unfolded = [unfold(report) for report in reports]
        stored: list[StoredReport] = []
        if not unfolded:
            return ()
        with self._writing() as connection:
            for item in unfolded:
                if not _is_known(connection, item.report):
                    stored.append(_store(connection, item))
        return tuple(stored)

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
            return page_of(
                connection,
                query,
                RECORDS.c.record_id,
                cursor,
                limit,
                lambda row: codec.decode(BenchmarkRecord, row["record"]),
            )

    def get_record(self, record_id: str) -> BenchmarkRecord:
        with self._reading() as connection:
            row = one(connection, select(RECORDS).where(RECORDS.c.record_id == record_id), f"record {record_id!r}")
        return codec.decode(BenchmarkRecord, row["record"])


def _is_known(connection: Connection, report: StoredReport) -> bool:
    query = select(REPORTS.c.position).where(
        REPORTS.c.device_id == report.device_id,
        REPORTS.c.request_id == report.request_id,
        REPORTS.c.attempt == report.attempt,
        REPORTS.c.sequence == report.sequence,
    )
    return connection.execute(query).first() is not None


def _store(connection: Connection, item: Unfolded) -> StoredReport:
    """One new report with everything that follows from it; quarantined when its record id is taken."""
    if item.record is not None and _is_record_id_taken(connection, item.record.record_id):
        item = quarantine(item.report, f"the record id {item.record.record_id!r} is taken")
    connection.execute(insert(REPORTS).values(_REPORT.row(item.report)))
    if item.record is not None:
        _insert_record(connection, item.report.device_id, item.record)
    if item.event is not None:
        append_event(connection, item.event)
        return item.report
    _close(connection, item)
    return item.report


def _is_record_id_taken(connection: Connection, record_id: str) -> bool:
    return connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.record_id == record_id)).first() is not None


def _insert_record(connection: Connection, device_id: str, record: BenchmarkRecord) -> None:
    query = select(REQUESTS.c.run_id).where(
        REQUESTS.c.request_id == record.request_id, REQUESTS.c.device_id == device_id
    )
    connection.execute(
        insert(RECORDS).values(
            record_id=record.record_id,
            device_id=device_id,
            request_id=record.request_id,
            run_id=connection.execute(query).scalar_one_or_none() or "",
            model_id=record.model_id,
            model_version=record.model_version,
            variant_id=record.configuration.variant_id,
            state=record.state.value,
            finished_at_ns=record.finished_at_ns,
            record=codec.encode(record),
        )
    )


def _close(connection: Connection, item: Unfolded) -> None:
    """Close the open request or load of this very device and attempt; anything else stays as it is."""
    report, values = item.report, {"state": item.outcome.value, "reason": item.reason}
    if item.result is None:
        connection.execute(
            update(REQUESTS)
            .where(
                REQUESTS.c.request_id == report.request_id,
                REQUESTS.c.device_id == report.device_id,
                REQUESTS.c.attempt == report.attempt,
                REQUESTS.c.state == RequestState.OPEN.value,
            )
            .values(values)
        )
    if item.record is None:
        result = None if item.result is None else codec.encode(item.result)
        connection.execute(
            update(LOADS)
            .where(
                LOADS.c.load_id == report.request_id,
                LOADS.c.device_id == report.device_id,
                LOADS.c.state == RequestState.OPEN.value,
            )
            .values(**values, result=result)
        )
