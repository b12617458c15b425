"""The same service over the real store: what is asked, measured, decided and rolled out survives a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_controller.adapters.store_sqlalchemy import SqlAlchemyStore, open_store
from muster_controller.core.entities import OperationState, Presence, RolloutState
from muster_controller.service.bench import RunOrder
from muster_controller.service.rollout import RolloutOrder
from muster_controller.service.service import Service
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos.model import AgentMessage, DeploymentState, ReportedServing, ReportedState

POLICY = "constraints: {p95_ms: {max: 40}}\nobjective: accuracy\napply: manual\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlAlchemyStore]:
    opened = open_store(tmp_path / "fleet.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def lab(tmp_path: Path, store: SqlAlchemyStore) -> Iterator[ServiceLab]:
    made = ServiceLab(tmp_path, store)
    yield made
    made.close()


def activate(lab: ServiceLab, session: RecordingSession, state: DeploymentState) -> None:
    (granted,) = [model.serving for model in session.wait_desired().models if model.serving is not None]
    serving = ReportedServing("kws", granted.deployment_id, state)
    lab.service.sessions.messages_received(
        session, [AgentMessage(ReportedState(device_id=session.device_id, serving=(serving,)))]
    )


def test_the_loop_over_sqlite_and_a_restart_in_the_middle(lab: ServiceLab, store: SqlAlchemyStore) -> None:
    lab.add_device("pi")
    lab.add_model()
    session = lab.open_session("pi")
    model = lab.service.models.get("kws")
    (device,) = lab.service.devices.every()
    run = lab.service.bench.start(model, lab.service.models.kept(model), [device], RunOrder(threads=(1,)))
    first, second = lab.service.bench.requests(run.run_id)
    lab.answer(session, first, p50_ms=4.0)

    restarted = Service(lab.context)
    try:
        restarted.start()
        assert restarted.devices.get("pi").presence is Presence.OFFLINE
        assert {operation.state for operation in restarted.operations.list().items} == {OperationState.SUCCEEDED}
    finally:
        restarted.close()

    session = lab.open_session("pi")
    assert [request.request_id for request in session.wait_desired().benchmarks] == [second.request.request_id]
    lab.answer(session, second, p50_ms=8.0, sequence=2)
    assert len(lab.service.bench.records(run.run_id)) == 2

    (decision,) = lab.service.selections.select(model, POLICY, [device])
    assert decision.chosen is not None
    rollout = lab.service.rollouts.start(model, [device], RolloutOrder())
    for state in (DeploymentState.ACTIVATED, DeploymentState.COMMITTED):
        row = store.desired("pi")
        assert row is not None
        session.wait_desired(above=row.version - 1)
        activate(lab, session, state)
    assert lab.service.rollouts.get(rollout.rollout_id).state is RolloutState.SUCCEEDED
    kinds = [event.kind for event in lab.service.newest_events(None, None, 100)]
    assert kinds.index("benchmark.finished") < kinds.index("decision.made") < kinds.index("rollout.succeeded")
