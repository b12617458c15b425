"""Everything that follows from a batch of reports, written with few statements inside one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from muster_controller.adapters.store_sqlalchemy.feed import event_row
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import EVENTS, LOADS, RECORDS, REPORTS, REQUESTS
from muster_controller.core.entities import RequestState, StoredReport
from muster_controller.core.unfold import TAKEN, Unfolded, quarantine
from muster_protos import codec
from muster_protos.model import BenchmarkRecord

_REPORT = RowShape(StoredReport)
_Key = tuple[str, str, int, int]

# Built once: composing a statement costs more than running it.
_KNOWN = select(REPORTS.c.sequence, REPORTS.c.payload).where(
    REPORTS.c.device_id == bindparam("b_device"),
    REPORTS.c.request_id == bindparam("b_request"),
    REPORTS.c.attempt == bindparam("b_attempt"),
    REPORTS.c.sequence.in_(bindparam("b_sequences", expanding=True)),
)
_ASKED_AT_ONCE = 250
_TAKEN = select(RECORDS.c.record_id).where(RECORDS.c.record_id == bindparam("b_record"))
_LAST_ARRIVAL = select(func.coalesce(func.max(RECORDS.c.arrival), 0))
_RUN_ID = select(REQUESTS.c.run_id).where(
    REQUESTS.c.request_id == bindparam("b_request"), REQUESTS.c.device_id == bindparam("b_device")
)
# Only the open request or load of this very device (and attempt) is closed; anything else stays as it is.
_CLOSE_REQUEST = (
    update(REQUESTS)
    .where(
        REQUESTS.c.request_id == bindparam("b_request"),
        REQUESTS.c.device_id == bindparam("b_device"),
        REQUESTS.c.attempt == bindparam("b_attempt"),
        REQUESTS.c.state == RequestState.OPEN.value,
    )
    .values(state=bindparam("b_outcome"), reason=bindparam("b_why"))
)
_CLOSE_LOAD = (
    update(LOADS)
    .where(
        LOADS.c.load_id == bindparam("b_request"),
        LOADS.c.device_id == bindparam("b_device"),
        LOADS.c.state == RequestState.OPEN.value,
    )
    .values(state=bindparam("b_outcome"), reason=bindparam("b_why"), result=bindparam("b_answer"))
)


class ReportBatch:
    """Collects rows report by report, in order; ``write`` puts them down."""

    def __init__(self, connection: Connection, reports: Iterable[StoredReport]) -> None:
        """``reports``: all that will be added, to look up together which of them are known."""
        self._connection = connection
        self._keys: dict[_Key, bytes] = self._known(reports)
        self._last_arrival: int | None = None
        self._record_ids: set[str] = set()
        self._rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("reports", "records", "events", "requests", "loads")
        }

    def add(self, item: Unfolded) -> StoredReport | None:
        """Take one report in; None when it is known. It is quarantined when its record id is taken, and comes back
        refused, not stored, when another report has its key."""
        report = item.report
        key = (report.device_id, report.request_id, report.attempt, report.sequence)
        known = self._keys.get(key)
        if known is not None:
            return None if known == report.payload else replace(report, rejected_reason=TAKEN)
        self._keys[key] = report.payload
        record = item.record
        if record is not None and self._is_taken(record.record_id):
            item = quarantine(report, f"the record id {record.record_id!r} is taken")
        elif record is not None:
            self._record_ids.add(record.record_id)
            self._rows["records"].append(self._record_row(report.device_id, record))
        self._rows["reports"].append(_REPORT.row(item.report))
        if item.event is not None:
            self._rows["events"].append(event_row(item.event))
        else:
            self._close(item)
        return item.report

    def write(self) -> None:
        """One statement per table that has rows."""
        statements = (
            (insert(REPORTS), "reports"),
            (insert(RECORDS), "records"),
            (insert(EVENTS), "events"),
            (_CLOSE_REQUEST, "requests"),
            (_CLOSE_LOAD, "loads"),
        )
        for statement, name in statements:
            if self._rows[name]:
                self._connection.execute(statement, self._rows[name])

    def _known(self, reports: Iterable[StoredReport]) -> dict[_Key, bytes]:
        """Payloads of those that are in the store, by key; one statement for what answers one request."""
        sequences: defaultdict[tuple[str, str, int], set[int]] = defaultdict(set)
        for report in reports:
            sequences[report.device_id, report.request_id, report.attempt].add(report.sequence)
        found: dict[_Key, bytes] = {}
        for (device_id, request_id, attempt), numbers in sequences.items():
            bound = {"b_device": device_id, "b_request": request_id, "b_attempt": attempt}
            ordered = sorted(numbers)
            for start in range(0, len(ordered), _ASKED_AT_ONCE):
                some = ordered[start : start + _ASKED_AT_ONCE]
                for sequence, payload in self._connection.execute(_KNOWN, {**bound, "b_sequences": some}):
                    found[device_id, request_id, attempt, sequence] = payload
        return found

    def _next_arrival(self) -> int:
        """The transaction has the store to itself, so nobody else hands out the same."""
        last = (
            self._connection.execute(_LAST_ARRIVAL).scalar_one() if self._last_arrival is None else self._last_arrival
        )
        self._last_arrival = int(last) + 1
        return self._last_arrival

    def _is_taken(self, record_id: str) -> bool:
        if record_id in self._record_ids:
            return True
        return self._connection.execute(_TAKEN, {"b_record": record_id}).first() is not None

    def _record_row(self, device_id: str, record: BenchmarkRecord) -> dict[str, Any]:
        asked = {"b_request": record.request_id, "b_device": device_id}
        return {
            "record_id": record.record_id,
            "device_id": device_id,
            "request_id": record.request_id,
            "run_id": self._connection.execute(_RUN_ID, asked).scalar_one_or_none() or "",
            "model_id": record.model_id,
            "model_version": record.model_version,
            "variant_id": record.configuration.variant_id,
            "state": record.state.value,
            "finished_at_ns": record.finished_at_ns,
            "record": codec.encode(record),
            "arrival": self._next_arrival(),
        }

    def _close(self, item: Unfolded) -> None:
        report = item.report
        closed = {
            "b_request": report.request_id,
            "b_device": report.device_id,
            "b_outcome": item.outcome.value,
            "b_why": item.reason,
        }
        if item.result is None:
            self._rows["requests"].append({**closed, "b_attempt": report.attempt})
        if item.record is None:
            answer = None if item.result is None else codec.encode(item.result)
            self._rows["loads"].append({**closed, "b_answer": answer})
