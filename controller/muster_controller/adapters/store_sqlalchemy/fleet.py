"""The fleet and its join tokens."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from muster_controller.adapters.store_sqlalchemy.paging import change_one
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import FLEET, TOKENS
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import Fleet, JoinToken
from muster_controller.core.tokens import take_use
from muster_protos.errors import ConflictError

_FLEET = RowShape(Fleet)
_TOKEN = RowShape(JoinToken)


class FleetRows(Transactions):
    """Tables ``fleet`` and ``tokens``."""

    def fleet(self) -> Fleet | None:
        with self._reading() as connection:
            row = connection.execute(select(FLEET)).mappings().one_or_none()
        return None if row is None else _FLEET.value(row)

    def init_fleet(self, fleet: Fleet) -> None:
        with self._writing() as connection:
            if connection.execute(select(FLEET.c.fleet_id)).first() is not None:
                raise ConflictError("expected an empty store, found one that already has a fleet")
            connection.execute(insert(FLEET).values(_FLEET.row(fleet)))

    def begin_epoch(self) -> None:
        """After a restore: from now on every desired state is newer than any that a device got before."""
        with self._writing() as connection:
            connection.execute(update(FLEET).values(epoch=FLEET.c.epoch + 1))

    def add_token(self, token: JoinToken) -> None:
        with self._writing() as connection:
            connection.execute(insert(TOKENS).values(_TOKEN.row(token)))

    def list_tokens(self) -> tuple[JoinToken, ...]:
        with self._reading() as connection:
            rows = connection.execute(select(TOKENS).order_by(TOKENS.c.token_id)).mappings().all()
        return tuple(_TOKEN.value(row) for row in rows)

    def revoke_token(self, token_id: str) -> None:
        with self._writing() as connection:
            statement = update(TOKENS).where(TOKENS.c.token_id == token_id).values(is_revoked=True)
            change_one(connection, statement, f"join token {token_id!r}")

    def prune_tokens(self, before_ns: int) -> int:
        with self._writing() as connection:
            return connection.execute(delete(TOKENS).where(TOKENS.c.expires_at_ns < before_ns)).rowcount

    def use_token(self, secret_sha256: str, now_ns: int) -> JoinToken:
        with self._writing() as connection:
            query = select(TOKENS).where(TOKENS.c.secret_sha256 == secret_sha256)
            row = connection.execute(query).mappings().one_or_none()
            used = take_use(None if row is None else _TOKEN.value(row), now_ns)
            connection.execute(
                update(TOKENS).where(TOKENS.c.token_id == used.token_id).values(uses_left=used.uses_left)
            )
        return used
