"""Benchmark runs, their requests per device, and loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select, update

from muster_controller.adapters.store_sqlalchemy.paging import Row, change_one, one, page_of, rows_where
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import LOADS, REQUESTS, RUNS
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import BenchmarkRun, DeviceLoad, DeviceRequest, RequestState
from muster_controller.ports import Page
from muster_protos.errors import ConflictError

_RUN = RowShape(BenchmarkRun)
_REQUEST = RowShape(DeviceRequest)
_LOAD = RowShape(DeviceLoad)


class BenchmarkRows(Transactions):
    """Tables ``runs``, ``requests`` and ``loads``."""

    def add_run(self, run: BenchmarkRun, requests: Sequence[DeviceRequest]) -> None:
        with self._writing() as connection:
            connection.execute(insert(RUNS).values(_RUN.row(run)))
            if requests:
                connection.execute(insert(REQUESTS), [_request_row(request) for request in requests])

    def get_run(self, run_id: str) -> BenchmarkRun:
        with self._reading() as connection:
            return _RUN.value(one(connection, select(RUNS).where(RUNS.c.run_id == run_id), f"run {run_id!r}"))

    def list_runs(self, cursor: str = "", limit: int = 100) -> Page[BenchmarkRun]:
        with self._reading() as connection:
            return page_of(connection, select(RUNS), RUNS.c.run_id, cursor, limit, _RUN.value)

    def get_request(self, request_id: str) -> DeviceRequest:
        with self._reading() as connection:
            query = select(REQUESTS).where(REQUESTS.c.request_id == request_id)
            return _request(one(connection, query, f"benchmark request {request_id!r}"))

    def list_requests(
        self, run_id: str | None = None, device_id: str | None = None, state: RequestState | None = None
    ) -> tuple[DeviceRequest, ...]:
        found = {"run_id": run_id, "device_id": device_id, "state": state.value if state is not None else None}
        with self._reading() as connection:
            rows = rows_where(connection, REQUESTS, REQUESTS.c.request_id, found)
        return tuple(_request(row) for row in rows)

    def put_request_state(self, request_id: str, attempt: int, state: RequestState, reason: str) -> None:
        mine = (REQUESTS.c.request_id == request_id) & (REQUESTS.c.attempt == attempt)
        with self._writing() as connection:
            statement = update(REQUESTS).where(mine).values(state=state.value, reason=reason)
            change_one(connection, statement, f"benchmark request {request_id!r} with attempt {attempt}")

    def retry_request(self, request_id: str, attempt: int) -> None:
        with self._writing() as connection:
            query = select(REQUESTS.c.attempt).where(REQUESTS.c.request_id == request_id)
            found = one(connection, query, f"benchmark request {request_id!r}")["attempt"]
            if found != attempt:
                raise ConflictError(f"expected attempt {attempt} of request {request_id!r}, found {found}")
            connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.request_id == request_id)
                .values(attempt=attempt + 1, state=RequestState.OPEN.value, reason="")
            )

    def put_load(self, load: DeviceLoad) -> None:
        with self._writing() as connection:
            connection.execute(delete(LOADS).where(LOADS.c.load_id == load.load_id))
            connection.execute(insert(LOADS).values(_LOAD.row(load)))

    def get_load(self, load_id: str) -> DeviceLoad:
        with self._reading() as connection:
            return _LOAD.value(one(connection, select(LOADS).where(LOADS.c.load_id == load_id), f"load {load_id!r}"))

    def list_loads(self, device_id: str | None = None, state: RequestState | None = None) -> tuple[DeviceLoad, ...]:
        found = {"device_id": device_id, "state": state.value if state is not None else None}
        with self._reading() as connection:
            rows = rows_where(connection, LOADS, LOADS.c.load_id, found)
        return tuple(_LOAD.value(row) for row in rows)


def _request_row(request: DeviceRequest) -> dict[str, Any]:
    return _REQUEST.row(request) | {"request_id": request.request.request_id, "attempt": request.request.attempt}


def _request(row: Row) -> DeviceRequest:
    stored = _REQUEST.value(row)
    return replace(stored, request=replace(stored.request, attempt=row["attempt"]))
