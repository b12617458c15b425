"""Decisions, rollouts and deployments."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from muster_controller.adapters.store_sqlalchemy.paging import change_one, one, page_by_position, page_of, rows_where
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import DECISIONS, DEPLOYMENTS, ROLLOUTS
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import Decision, Deployment, Rollout, RolloutState
from muster_controller.ports import Page
from muster_protos.errors import ConflictError

_DECISION = RowShape(Decision)
_ROLLOUT = RowShape(Rollout)
_DEPLOYMENT = RowShape(Deployment)
_OPEN_ROLLOUTS = (
    select(ROLLOUTS)
    .where(ROLLOUTS.c.state.in_((RolloutState.RUNNING.value, RolloutState.PAUSED.value)))
    .order_by(ROLLOUTS.c.rollout_id)
)


class RolloutRows(Transactions):
    """Tables ``decisions``, ``rollouts`` and ``deployments``."""

    def add_decision(self, decision: Decision) -> None:
        with self._writing() as connection:
            connection.execute(insert(DECISIONS).values(_DECISION.row(decision)))

    def get_decision(self, decision_id: str) -> Decision:
        with self._reading() as connection:
            query = select(DECISIONS).where(DECISIONS.c.decision_id == decision_id)
            return _DECISION.value(one(connection, query, f"decision {decision_id!r}"))

    def list_decisions(
        self, model_id: str | None = None, device_id: str | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Decision]:
        query = select(DECISIONS)
        if model_id is not None:
            query = query.where(DECISIONS.c.model_id == model_id)
        if device_id is not None:
            query = query.where(DECISIONS.c.device_id == device_id)
        with self._reading() as connection:
            return page_by_position(
                connection, query, DECISIONS.c.position, cursor, limit, _DECISION.value, is_newest_first=True
            )

    def add_rollout(self, rollout: Rollout, deployments: Sequence[Deployment]) -> None:
        with self._writing() as connection:
            connection.execute(insert(ROLLOUTS).values(_ROLLOUT.row(rollout)))
            if deployments:
                connection.execute(insert(DEPLOYMENTS), [_DEPLOYMENT.row(deployment) for deployment in deployments])

    def get_rollout(self, rollout_id: str) -> Rollout:
        with self._reading() as connection:
            query = select(ROLLOUTS).where(ROLLOUTS.c.rollout_id == rollout_id)
            return _ROLLOUT.value(one(connection, query, f"rollout {rollout_id!r}"))

    def list_rollouts(self, cursor: str = "", limit: int = 100) -> Page[Rollout]:
        with self._reading() as connection:
            return page_of(connection, select(ROLLOUTS), ROLLOUTS.c.rollout_id, cursor, limit, _ROLLOUT.value)

    def open_rollouts(self) -> tuple[Rollout, ...]:
        with self._reading() as connection:
            rows = connection.execute(_OPEN_ROLLOUTS).mappings().all()
        return tuple(_ROLLOUT.value(row) for row in rows)

    def put_rollout(
        self,
        rollout: Rollout,
        expected_state: str,
        deployments: Sequence[Deployment] = (),
        added: Sequence[Deployment] = (),
    ) -> None:
        mine = ROLLOUTS.c.rollout_id == rollout.rollout_id
        with self._writing() as connection:
            found = one(connection, select(ROLLOUTS.c.state).where(mine), f"rollout {rollout.rollout_id!r}")["state"]
            if found != expected_state:
                raise ConflictError(f"expected rollout {rollout.rollout_id!r} to be {expected_state}, found it {found}")
            connection.execute(update(ROLLOUTS).where(mine).values(_ROLLOUT.row(rollout)))
            for deployment in deployments:
                _put_deployment(connection, deployment)
            if added:
                connection.execute(insert(DEPLOYMENTS), [_DEPLOYMENT.row(deployment) for deployment in added])

    def list_deployments(self, rollout_id: str | None = None, device_id: str | None = None) -> tuple[Deployment, ...]:
        found = {"rollout_id": rollout_id, "device_id": device_id}
        with self._reading() as connection:
            rows = rows_where(connection, DEPLOYMENTS, DEPLOYMENTS.c.deployment_id, found)
        return tuple(_DEPLOYMENT.value(row) for row in rows)

    def get_deployment(self, deployment_id: str) -> Deployment:
        with self._reading() as connection:
            query = select(DEPLOYMENTS).where(DEPLOYMENTS.c.deployment_id == deployment_id)
            return _DEPLOYMENT.value(one(connection, query, f"deployment {deployment_id!r}"))

    def put_deployment(self, deployment: Deployment) -> None:
        with self._writing() as connection:
            _put_deployment(connection, deployment)


def _put_deployment(connection: Connection, deployment: Deployment) -> None:
    mine = DEPLOYMENTS.c.deployment_id == deployment.deployment_id
    statement = update(DEPLOYMENTS).where(mine).values(_DEPLOYMENT.row(deployment))
    change_one(connection, statement, f"deployment {deployment.deployment_id!r}")
