"""Rollouts follow what devices report, wave by wave, and take back what fails."""

from __future__ import annotations

import pytest

from muster_controller.core.entities import RolloutState
from muster_controller.service.bench import RunOrder
from muster_controller.service.rollout import RolloutOrder
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos.errors import ConflictError, InfeasibleError, InvalidInputError, NotFoundError
from muster_protos.model import AgentMessage, DeploymentState, ReportedServing, ReportedState

POLICY = "constraints: {p95_ms: {max: 40}}\nobjective: accuracy\napply: manual\n"
AUTO = POLICY.replace("manual", "auto")
TOO_TIGHT = "constraints: {p95_ms: {max: 0.001}}\nobjective: accuracy\n"


@pytest.fixture
def sessions(lab: ServiceLab) -> dict[str, RecordingSession]:
    """Two measured devices, ``pi`` labelled as a canary."""
    lab.add_device("phone")
    lab.add_device("pi", {"stage": "canary"})
    lab.add_model()
    found = {device_id: lab.open_session(device_id) for device_id in ("phone", "pi")}
    measure(lab, found)
    return found


def measure(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    model = lab.service.models.get("kws")
    devices = lab.service.devices.resolve(list(sessions))
    run = lab.service.bench.start(model, lab.service.models.kept(model), devices, RunOrder(threads=(1,)))
    for number, entry in enumerate(lab.service.bench.requests(run.run_id)):
        is_fp16 = entry.request.configuration.variant_id.endswith("fp16")
        lab.answer(sessions[entry.device_id], entry, 3.0 if is_fp16 else 6.0, sequence=number + 1)


def select(lab: ServiceLab, policy: str = POLICY) -> None:
    lab.service.selections.select(lab.service.models.get("kws"), policy, lab.service.devices.every())


def start(lab: ServiceLab, **order: object) -> str:
    model = lab.service.models.get("kws")
    found = lab.service.rollouts.start(model, lab.service.devices.every(), RolloutOrder(**order))  # type: ignore[arg-type]
    return found.rollout_id


def report(lab: ServiceLab, session: RecordingSession, state: DeploymentState, reason: str = "") -> None:
    """The device says how far its newest granted deployment is."""
    granted = [m.serving for m in session.wait_desired().models if m.serving is not None]
    serving = ReportedServing("kws", granted[0].deployment_id, state, reason)
    lab.service.sessions.messages_received(
        session, [AgentMessage(ReportedState(device_id=session.device_id, serving=(serving,)))]
    )


def wait_granted(lab: ServiceLab, session: RecordingSession) -> None:
    """Until the session has the newest stored desired state."""
    row = lab.store.desired(session.device_id)
    assert row is not None
    session.wait_desired(above=row.version - 1)


def states(lab: ServiceLab, rollout_id: str) -> dict[str, DeploymentState]:
    return {item.device_id: item.state for item in lab.service.rollouts.deployments(rollout_id)}


def test_all_at_once_commits_what_devices_activate(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    rollout = start(lab)
    for session in sessions.values():
        wait_granted(lab, session)
        report(lab, session, DeploymentState.ACTIVATED)
        wait_granted(lab, session)
        (granted,) = [m.serving for m in session.wait_desired().models if m.serving is not None]
        assert granted.is_committed
        report(lab, session, DeploymentState.COMMITTED)
    assert lab.service.rollouts.get(rollout).state is RolloutState.SUCCEEDED
    assert set(states(lab, rollout).values()) == {DeploymentState.COMMITTED}


def test_a_canary_by_label_goes_first_and_holds_the_rest_back(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    rollout = start(lab, canary_labels={"stage": "canary"})
    assert lab.service.rollouts.get(rollout).waves == (("pi",), ("phone",))
    wait_granted(lab, sessions["pi"])
    assert all(model.serving is None for model in sessions["phone"].wait_desired().models)
    report(lab, sessions["pi"], DeploymentState.COMMITTED)
    wait_granted(lab, sessions["phone"])
    assert any(model.serving is not None for model in sessions["phone"].wait_desired().models)


def test_a_device_that_rolls_back_stops_the_rollout_with_its_reason(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    rollout = start(lab, canary=1)
    canary = lab.service.rollouts.get(rollout).waves[0][0]
    wait_granted(lab, sessions[canary])
    report(lab, sessions[canary], DeploymentState.ROLLED_BACK, "self-test failed: y differs by 0.4")
    after = lab.service.rollouts.get(rollout)
    assert after.state is RolloutState.FAILED
    assert "self-test failed" in after.reason
    other = next(device_id for device_id in sessions if device_id != canary)
    assert states(lab, rollout)[other] is DeploymentState.CANCELLED


def test_silence_past_the_deadline_is_failure(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    rollout = start(lab, deadline_s=60)
    lab.clock.advance(61)
    lab.service.tick()
    assert lab.service.rollouts.get(rollout).state is RolloutState.FAILED


def test_pause_resume_abort_and_rollback(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    rollout = start(lab, canary=1)
    assert lab.service.rollouts.pause(rollout).state is RolloutState.PAUSED
    assert lab.service.rollouts.resume(rollout).state is RolloutState.RUNNING
    assert lab.service.rollouts.abort(rollout).state is RolloutState.ABORTED
    assert lab.service.rollouts.roll_back(rollout).state is RolloutState.ROLLED_BACK


def test_only_the_device_that_is_left_with_nothing_bears_that_reason(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    served, bare = sorted(sessions)[:2]
    model = lab.service.models.get("kws")
    first = lab.service.rollouts.start(model, [lab.store.get_device(served)], RolloutOrder()).rollout_id
    (before,) = lab.service.rollouts.deployments(first)
    kept = ReportedServing("kws", before.deployment_id, DeploymentState.COMMITTED)
    lab.service.rollouts.follow_reported(served, ReportedState(device_id=served, serving=(kept,)))
    lab.clock.advance(1)
    rollout = start(lab)
    after = lab.service.rollouts.roll_back(rollout)
    assert bare in after.reason
    assert served not in after.reason
    reasons = {item.device_id: item.reason for item in lab.service.rollouts.deployments(rollout)}
    assert reasons[served] == "rolled back by a person"
    assert reasons[bare] == "rolled back by a person; nothing of kws is served any more here"


def test_a_rollout_needs_a_feasible_decision(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    with pytest.raises(NotFoundError, match="muster select"):
        start(lab)
    select(lab, TOO_TIGHT)
    with pytest.raises(InfeasibleError, match="p95_ms"):
        start(lab)


def test_the_newest_decision_counts_and_the_refusal_says_how_to_get_on(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    select(lab, TOO_TIGHT)
    with pytest.raises(InfeasibleError, match=r"newest decision of .*\(decision-.*muster select kws --policy FILE"):
        start(lab)
    select(lab)
    assert start(lab)


@pytest.mark.parametrize("wave", ["0%", "101%", "some", "-1", "1.5", ""])
def test_a_wave_that_makes_no_sense_is_refused(
    lab: ServiceLab, sessions: dict[str, RecordingSession], wave: str
) -> None:
    select(lab)
    with pytest.raises(InvalidInputError, match="wave"):
        start(lab, waves=(wave,))


def test_a_canary_label_that_nobody_bears_is_refused(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    with pytest.raises(InvalidInputError, match="canary"):
        start(lab, canary_labels={"stage": "none"})


def test_results_that_arrive_re_run_the_selection_and_apply_it_when_the_policy_says_so(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab, AUTO)
    before = len(lab.service.selections.list(model_id="kws").items)
    model = lab.service.models.get("kws")
    (device,) = lab.service.devices.resolve(["pi"])
    run = lab.service.bench.start(model, lab.service.models.kept(model, ("fp32",)), [device], RunOrder(threads=(2,)))
    (entry,) = lab.service.bench.requests(run.run_id)
    lab.answer(sessions["pi"], entry, p50_ms=1.0, sequence=50)
    decisions = lab.service.selections.list(model_id="kws").items
    assert len(decisions) == before + 1
    assert (decisions[0].device_id, decisions[0].chosen) == ("pi", entry.request.configuration)
    (rollout,) = lab.service.rollouts.list().items
    assert rollout.waves == (("pi",),)


def test_removing_a_device_fails_what_it_was_doing_and_cancels_what_it_had_not_begun(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    rollout = start(lab, canary=1)
    first, second = (wave[0] for wave in lab.service.rollouts.get(rollout).waves)
    lab.service.devices.remove(second)
    assert states(lab, rollout)[second] is DeploymentState.CANCELLED
    assert lab.service.rollouts.get(rollout).state is RolloutState.RUNNING, "nobody was hurt by it"
    lab.service.devices.remove(first)
    found = lab.service.rollouts.get(rollout)
    assert (found.state, states(lab, rollout)[first]) == (RolloutState.FAILED, DeploymentState.FAILED)
    assert "device removed from the fleet" in found.reason
    told = lab.service.events.list(kind="deployment.failed")
    assert [(event.device_id, event.reason) for event in told] == [(first, "device removed from the fleet")]


def test_a_device_that_comes_later_joins_the_last_wave_and_never_gets_ahead_of_the_canary(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab, AUTO)
    rollout = start(lab, canary_labels={"stage": "canary"})  # pi, then phone
    lab.add_device("late")
    sessions["late"] = lab.open_session("late")
    measure(lab, {"late": sessions["late"]})
    assert lab.service.rollouts.get(rollout).waves == (("pi",), ("phone", "late"))
    assert [found.rollout_id for found in lab.service.rollouts.list().items] == [rollout]
    assert all(model.serving is None for model in sessions["late"].wait_desired().models)
    (told,) = lab.service.events.list(kind="rollout.joined")
    assert told.device_id == "late"
    wait_granted(lab, sessions["pi"])
    report(lab, sessions["pi"], DeploymentState.COMMITTED)
    lab.add_device("later")  # the last wave is under way: at once
    sessions["later"] = lab.open_session("later")
    measure(lab, {"later": sessions["later"]})
    for name in ("phone", "late", "later"):
        wait_granted(lab, sessions[name])
        report(lab, sessions[name], DeploymentState.COMMITTED)
    assert lab.service.rollouts.get(rollout).state is RolloutState.SUCCEEDED
    assert set(states(lab, rollout)) == {"pi", "phone", "late", "later"}


def test_a_newer_rollout_takes_a_device_over_and_the_older_one_is_not_to_blame(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    older = start(lab)
    model, (pi,) = lab.service.models.get("kws"), lab.service.devices.resolve(["pi"])
    newer = lab.service.rollouts.start(model, [pi], RolloutOrder()).rollout_id
    (gone,) = [item for item in lab.service.rollouts.deployments(older) if item.device_id == "pi"]
    assert (gone.state, gone.reason) == (DeploymentState.CANCELLED, f"superseded by {newer}")
    for session in sessions.values():
        wait_granted(lab, session)
        report(lab, session, DeploymentState.COMMITTED)
    assert {lab.service.rollouts.get(found).state for found in (older, newer)} == {RolloutState.SUCCEEDED}


def test_an_older_rollout_never_takes_a_device_back_from_a_newer_one(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    older = start(lab, canary_labels={"stage": "canary"})  # pi, then phone
    model, (phone,) = lab.service.models.get("kws"), lab.service.devices.resolve(["phone"])
    newer = lab.service.rollouts.start(model, [phone], RolloutOrder()).rollout_id
    assert states(lab, older)["phone"] is DeploymentState.CANCELLED
    wait_granted(lab, sessions["pi"])
    report(lab, sessions["pi"], DeploymentState.COMMITTED)
    assert lab.service.rollouts.get(older).state is RolloutState.SUCCEEDED
    assert states(lab, newer)["phone"] is DeploymentState.PENDING


def test_everything_taken_over_ends_the_older_rollout(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    older, newer = start(lab), start(lab)
    found = lab.service.rollouts.get(older)
    assert (found.state, found.reason) == (RolloutState.ABORTED, f"superseded by {newer}")


def test_a_rollback_of_the_newer_brings_the_older_back_and_neither_can_be_rolled_back_twice(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    rollouts = []
    for _ in range(2):
        rollouts.append(start(lab))
        for session in sessions.values():
            wait_granted(lab, session)
            report(lab, session, DeploymentState.COMMITTED)
    older, newer = rollouts
    lab.service.rollouts.roll_back(newer, "p95 doubled")
    assert lab.service.rollouts.get(newer).reason == "rolled back by a person: p95 doubled"
    wait_granted(lab, sessions["pi"])
    (granted,) = [m.serving for m in sessions["pi"].wait_desired().models if m.serving is not None]
    assert granted.deployment_id in {item.deployment_id for item in lab.service.rollouts.deployments(older)}
    assert granted.is_committed, "the device said that it keeps it; no old deadline holds any more"
    with pytest.raises(ConflictError, match="muster rollout start kws"):
        lab.service.rollouts.roll_back(newer)


def test_a_hold_has_a_reason_and_ends_by_approval_or_by_resuming(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    rollout = start(lab, canary=1, pauses_after_wave=True)
    canary = lab.service.rollouts.get(rollout).waves[0][0]
    assert lab.service.rollouts.pause(rollout, "a demo is on").reason == "paused by a person: a demo is on"
    with pytest.raises(ConflictError, match="to be through before it is approved"):
        lab.service.rollouts.approve(rollout)
    lab.service.rollouts.resume(rollout)
    wait_granted(lab, sessions[canary])
    report(lab, sessions[canary], DeploymentState.COMMITTED)
    assert lab.service.rollouts.get(rollout).reason == "wave 1 of 2 is through: approve to go on"
    assert lab.service.rollouts.approve(rollout, "seen on the shop floor").active_wave == 1
    reasons = [event.reason for event in lab.service.events.list(kind="rollout.running")]
    assert reasons == ["resumed by a person", "approved by a person: seen on the shop floor"]


def test_an_abort_reaches_a_device_that_was_away(lab: ServiceLab, sessions: dict[str, RecordingSession]) -> None:
    select(lab)
    lab.service.sessions.session_closed(sessions["pi"], "gone")
    rollout = start(lab)
    assert lab.service.rollouts.abort(rollout, "the wrong file").reason == "aborted by a person: the wrong file"
    assert set(states(lab, rollout).values()) == {DeploymentState.ROLLED_BACK}
    back = lab.open_session("pi")
    assert all(model.serving is None for model in back.wait_desired().models)
    assert lab.service.rollouts.abort(rollout).reason == "aborted by a person: the wrong file", "twice is once"


def test_all_devices_means_those_that_have_a_feasible_decision(
    lab: ServiceLab, sessions: dict[str, RecordingSession]
) -> None:
    select(lab)
    lab.add_device("never-measured")
    with pytest.raises(NotFoundError, match="never-measured"):
        start(lab)
    rollout = start(lab, leaves_undecided_out=True)
    assert set(states(lab, rollout)) == {"phone", "pi"}
