"""Long work on the host, events and telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Engine, Select, delete, func, insert, or_, select, true

from muster_controller.adapters.store_sqlalchemy.group_commit import GroupCommit
from muster_controller.adapters.store_sqlalchemy.paging import one, page_of
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import EVENTS, OPERATIONS, TELEMETRY
from muster_controller.adapters.store_sqlalchemy.transactions import BUSY_TIMEOUT_S, Transactions
from muster_controller.core.entities import FleetEvent, Operation
from muster_controller.core.event_rules import CONTROLLER_KINDS, CONTROLLER_PREFIXES, KEPT_KINDS
from muster_controller.ports import Page
from muster_protos import codec
from muster_protos.model import Telemetry

_OPERATION = RowShape(Operation)
_EVENT = RowShape(FleetEvent)
_DELETED_AT_ONCE = 5_000
_APPEND = insert(EVENTS).returning(EVENTS.c.sequence)  # composing a statement costs more than running it


class FeedRows(Transactions):
    """Tables ``operations``, ``events`` and ``telemetry``."""

    def __init__(self, engine: Engine, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(engine, busy_timeout_s)
        self._telemetry_commits: GroupCommit[dict[str, Any], None] = GroupCommit(self._commit_telemetry)

    def put_operation(self, operation: Operation) -> None:
        with self._writing() as connection:
            connection.execute(delete(OPERATIONS).where(OPERATIONS.c.operation_id == operation.operation_id))
            connection.execute(insert(OPERATIONS).values(_OPERATION.row(operation)))

    def get_operation(self, operation_id: str) -> Operation:
        with self._reading() as connection:
            query = select(OPERATIONS).where(OPERATIONS.c.operation_id == operation_id)
            return _OPERATION.value(one(connection, query, f"operation {operation_id!r}"))

    def list_operations(self, cursor: str = "", limit: int = 100) -> Page[Operation]:
        with self._reading() as connection:
            return page_of(connection, select(OPERATIONS), OPERATIONS.c.operation_id, cursor, limit, _OPERATION.value)

    def add_event(self, event: FleetEvent) -> FleetEvent:
        with self._writing() as connection:
            return append_event(connection, event)

    def list_events(
        self, after_sequence: int = 0, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        query = _events_of(device_id, kind).where(EVENTS.c.sequence > after_sequence)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(EVENTS.c.sequence).limit(limit)).mappings().all()
        return tuple(_EVENT.value(row) for row in rows)

    def newest_events(
        self, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        query = _events_of(device_id, kind).order_by(EVENTS.c.sequence.desc()).limit(limit)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(_EVENT.value(row) for row in reversed(rows))

    def prune_events(self, before_ns: int, kept: int, kept_per_device: int) -> int:
        with self._reading() as connection:
            oldest_kept = [_first_young(connection, before_ns), _nth_newest(connection, true(), kept)]
            count = func.count()
            many = select(EVENTS.c.device_id).where(EVENTS.c.device_id != "").group_by(EVENTS.c.device_id)
            device_ids = connection.execute(many.having(count > kept_per_device)).scalars().all()
            of_devices = [EVENTS.c.device_id == device_id for device_id in device_ids]
            bounds = [(of_device, _nth_newest(connection, of_device, kept_per_device)) for of_device in of_devices]
        old = [EVENTS.c.sequence < max(oldest_kept), *(of & (EVENTS.c.sequence < bound) for of, bound in bounds)]
        return sum(self._delete_events(where) for where in old)

    def _delete_events(self, where: ColumnElement[bool]) -> int:
        """In several transactions, so that no report waits for a long one."""
        chosen = select(EVENTS.c.sequence).where(where, EVENTS.c.kind.not_in(KEPT_KINDS)).limit(_DELETED_AT_ONCE)
        total = 0
        while True:
            with self._writing() as connection:
                query = delete(EVENTS).where(EVENTS.c.sequence.in_(chosen.scalar_subquery()))
                result: CursorResult[None] = connection.execute(query)
            total += result.rowcount
            if result.rowcount < _DELETED_AT_ONCE:
                return total

    def add_telemetry(self, device_id: str, samples: Sequence[Telemetry]) -> None:
        if samples:
            self._telemetry_commits.submit([_telemetry_row(device_id, sample) for sample in samples])

    def _commit_telemetry(self, rows: Sequence[dict[str, Any]]) -> tuple[None, ...]:
        with self._writing() as connection:
            connection.execute(insert(TELEMETRY), rows)
        return (None,) * len(rows)

    def list_telemetry(
        self, device_id: str, since_ns: int, model_id: str | None = None, limit: int = 1000
    ) -> tuple[Telemetry, ...]:
        query = select(TELEMETRY.c.sample).where(TELEMETRY.c.device_id == device_id, TELEMETRY.c.at_ns >= since_ns)
        if model_id is not None:
            query = query.where(TELEMETRY.c.model_id == model_id)
        query = query.order_by(TELEMETRY.c.at_ns.desc(), TELEMETRY.c.position.desc()).limit(limit)
        with self._reading() as connection:
            samples = connection.execute(query).scalars().all()
        return tuple(codec.decode(Telemetry, sample) for sample in reversed(samples))

    def prune_telemetry(self, before_ns: int) -> int:
        with self._writing() as connection:
            result: CursorResult[None] = connection.execute(delete(TELEMETRY).where(TELEMETRY.c.at_ns < before_ns))
            return result.rowcount


def _first_young(connection: Connection, before_ns: int) -> int:
    """The sequence before which everything had arrived before ``before_ns``; 0 when no event tells."""
    is_controllers = EVENTS.c.kind.in_(CONTROLLER_KINDS) | or_(
        *(EVENTS.c.kind.startswith(prefix, autoescape=True) for prefix in CONTROLLER_PREFIXES)
    )
    query = select(func.min(EVENTS.c.sequence)).where(EVENTS.c.at_ns >= before_ns, is_controllers)
    return connection.execute(query).scalar_one() or 0


def _nth_newest(connection: Connection, where: ColumnElement[bool], n: int) -> int:
    """The sequence of the ``n``-th newest event; 0 when there are fewer."""
    query = select(EVENTS.c.sequence).where(where).order_by(EVENTS.c.sequence.desc()).offset(n - 1).limit(1)
    return connection.execute(query).scalar() or 0


def append_event(connection: Connection, event: FleetEvent) -> FleetEvent:
    """Append to the feed inside the caller's transaction."""
    sequence = connection.execute(_APPEND, event_row(event)).scalar_one()
    return replace(event, sequence=sequence)


def event_row(event: FleetEvent) -> dict[str, Any]:
    """The columns of a new event; the store numbers it."""
    row = _EVENT.row(event)
    del row["sequence"]
    return row


def _events_of(device_id: str | None, kind: str | None) -> Select[Any]:
    query = select(EVENTS)
    if device_id is not None:
        query = query.where(EVENTS.c.device_id == device_id)
    return query if kind is None else query.where(EVENTS.c.kind == kind)


def _telemetry_row(device_id: str, sample: Telemetry) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "at_ns": sample.at_ns,
        "model_id": sample.model_id,
        "sample": codec.encode(sample),
    }
