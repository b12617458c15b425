"""What devices should be: pushes and signed desired states."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import DESIRED, PUSHES
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import DesiredRow, Push
from muster_protos.errors import ConflictError

_PUSH = RowShape(Push)
_DESIRED = RowShape(DesiredRow)
# Built once: composing a statement costs more than running it.
_DESIRED_OF = select(DESIRED).where(DESIRED.c.device_id == bindparam("b_device"))
_PUSHES_OF = (
    select(PUSHES)
    .where(PUSHES.c.device_id == bindparam("b_device"))
    .order_by(PUSHES.c.model_id, PUSHES.c.model_version)
)


class DesiredRows(Transactions):
    """Tables ``pushes`` and ``desired``."""

    def put_push(self, push: Push) -> None:
        mine = (
            (PUSHES.c.device_id == push.device_id)
            & (PUSHES.c.model_id == push.model_id)
            & (PUSHES.c.model_version == push.model_version)
        )
        with self._writing() as connection:
            connection.execute(delete(PUSHES).where(mine))
            connection.execute(insert(PUSHES).values(_PUSH.row(push)))

    def list_pushes(self, device_id: str) -> tuple[Push, ...]:
        with self._reading() as connection:
            rows = connection.execute(_PUSHES_OF, {"b_device": device_id}).mappings().all()
        return tuple(_PUSH.value(row) for row in rows)

    def remove_push(self, device_id: str, model_id: str) -> None:
        with self._writing() as connection:
            connection.execute(delete(PUSHES).where(PUSHES.c.device_id == device_id, PUSHES.c.model_id == model_id))

    def desired(self, device_id: str) -> DesiredRow | None:
        with self._reading() as connection:
            row = connection.execute(_DESIRED_OF, {"b_device": device_id}).mappings().one_or_none()
        return None if row is None else _DESIRED.value(row)

    def compare_and_set_desired(self, row: DesiredRow, expected_version: int) -> None:
        mine = DESIRED.c.device_id == row.device_id
        with self._writing() as connection:
            found = connection.execute(select(DESIRED.c.version).where(mine)).scalar_one_or_none() or 0
            if found != expected_version:
                raise ConflictError(
                    f"expected version {expected_version} of the desired state of {row.device_id!r}, found {found}: "
                    "read it again"
                )
            if found:
                connection.execute(update(DESIRED).where(mine).values(_DESIRED.row(row)))
            else:
                connection.execute(insert(DESIRED).values(_DESIRED.row(row)))
