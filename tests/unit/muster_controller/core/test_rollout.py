"""Waves, and what a rollout does next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.deployments import advance, after_all, has_failed, in_force, is_settled, superseded
from muster_controller.core.entities import Deployment, Rollout, RolloutState
from muster_controller.core.rollout import (
    Abort,
    Commit,
    Complete,
    FailSilent,
    Pause,
    StartWave,
    abort,
    apply,
    next_step,
    pause,
    resume,
    roll_back,
)
from muster_controller.core.waves import plan_waves
from muster_controller.testing_values import NOW_NS, make_deployment, make_rollout
from muster_protos.errors import ConflictError, InvalidInputError
from muster_protos.model import DeploymentState, ReportedServing

S = 10**9
IDS = tuple(f"pi-{number:02}" for number in range(40))


class Fleet:
    """Devices that do what they are told, some of them badly, driven by the rules under test."""

    def __init__(self, rollout: Rollout, behave: Callable[[str], DeploymentState | None]) -> None:
        self.rollout = rollout
        self.now_ns = NOW_NS
        self.behave = behave
        self.deployments = {
            f"dep-{device_id}": make_deployment(f"dep-{device_id}", device_id, wave=number)
            for number, wave in enumerate(rollout.waves)
            for device_id in wave
        }

    def settle(self) -> None:
        """Let controller and devices talk until nothing moves."""
        for _ in range(10_000):
            if not self.think() and not self.report():
                return
        raise AssertionError("it never came to rest")

    def think(self) -> bool:
        actions = next_step(self.rollout, tuple(self.deployments.values()), self.now_ns)
        for action in actions:
            self.rollout, changed = apply(self.rollout, tuple(self.deployments.values()), action, self.now_ns)
            self.keep(changed)
        return bool(actions)

    def report(self) -> bool:
        moved = False
        for deployment in in_force(self.deployments.values()):
            state = self.behave(deployment.device_id)
            if deployment.grant.is_committed and state is DeploymentState.ACTIVATED:
                state = DeploymentState.COMMITTED
            if state is None:
                continue
            reason = "self-test failed" if state is DeploymentState.ROLLED_BACK else ""
            reported = ReportedServing("digits", deployment.deployment_id, state, reason)
            changed = advance(deployment, reported, self.now_ns)
            if changed is not None:
                self.keep((changed,))
                moved = True
        return moved

    def keep(self, changed: Sequence[Deployment]) -> None:
        self.deployments.update({item.deployment_id: item for item in changed})

    def states(self) -> dict[str, DeploymentState]:
        return {item.device_id: item.state for item in self.deployments.values()}

    def reached(self) -> int:
        return sum(item.started_at_ns > 0 for item in self.deployments.values())


def good(_device_id: str) -> DeploymentState:
    return DeploymentState.ACTIVATED


def bad(_device_id: str) -> DeploymentState:
    return DeploymentState.ROLLED_BACK


def silent(_device_id: str) -> None:
    return None


class TestWaves:
    def test_without_waves_everybody_goes_at_once(self) -> None:
        assert plan_waves(IDS) == (IDS,)

    def test_canary_then_a_quarter_then_all(self) -> None:
        waves = plan_waves(IDS, canary_count=1, then_ratios=(0.25, 1.0))
        assert [len(wave) for wave in waves] == [1, 9, 30]

    def test_canaries_by_label_go_first(self) -> None:
        assert plan_waves(IDS[:4], canary_ids={IDS[2]}) == ((IDS[2],), (IDS[0], IDS[1], IDS[3]))

    @pytest.mark.parametrize(
        ("devices", "arguments", "message"),
        [
            ((), {}, "expected devices, each once"),
            (("a", "a"), {}, "expected devices, each once"),
            (("a",), {"canary_count": 2}, "canary of 0 to 1"),
            (("a",), {"canary_count": 1, "canary_ids": {"a"}}, "found both"),
            (("a",), {"canary_ids": {"b"}}, "at least one canary"),
            (("a",), {"then_ratios": (0.0,)}, "between 0 and 1"),
            (("a",), {"then_ratios": (0.5, 0.5)}, "rise from wave to wave"),
        ],
    )
    def test_nonsense_is_refused(self, devices: tuple[str, ...], arguments: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidInputError, match=message):
            plan_waves(devices, **arguments)  # type: ignore[arg-type]

    @given(st.integers(1, 200), st.integers(0, 200), st.lists(st.floats(0.01, 1.0), max_size=4, unique=True))
    def test_every_device_is_in_one_wave_and_no_canary_wave_is_too_large(
        self, devices: int, canary: int, ratios: list[float]
    ) -> None:
        ids = [f"d{number}" for number in range(devices)]
        waves = plan_waves(ids, canary_count=min(canary, devices), then_ratios=sorted(ratios))
        assert [device_id for wave in waves for device_id in wave] == ids
        assert all(waves)
        if canary:
            assert len(waves[0]) <= max(1, math.floor(devices * 0.05))


class TestRollout:
    def test_all_at_once_starts_commits_and_succeeds(self) -> None:
        fleet = Fleet(make_rollout([IDS[:3]]), good)
        fleet.settle()
        assert fleet.rollout.state is RolloutState.SUCCEEDED
        assert set(fleet.states().values()) == {DeploymentState.COMMITTED}

    def test_each_wave_waits_for_the_one_before(self) -> None:
        fleet = Fleet(make_rollout(plan_waves(IDS, canary_count=1, then_ratios=(0.25,))), silent)
        fleet.settle()
        assert (fleet.rollout.active_wave, fleet.reached()) == (0, 1)
        fleet.behave = good
        fleet.settle()
        assert (fleet.rollout.state, fleet.reached()) == (RolloutState.SUCCEEDED, 40)

    def test_a_bad_release_reaches_the_canary_alone(self) -> None:
        fleet = Fleet(make_rollout(plan_waves(IDS, canary_count=10)), bad)
        fleet.settle()
        assert fleet.rollout.state is RolloutState.FAILED
        assert fleet.reached() == 2, "max(1, 5 % of 40)"
        assert "of wave 1 failed; the first, pi-0" in fleet.rollout.reason
        assert fleet.rollout.reason.endswith("self-test failed")
        assert fleet.states()["pi-39"] is DeploymentState.CANCELLED

    def test_silence_past_the_deadline_is_failure(self) -> None:
        fleet = Fleet(make_rollout(plan_waves(IDS, canary_count=1)), silent)
        fleet.settle()
        fleet.now_ns += 300 * S - 1
        fleet.settle()
        assert fleet.rollout.state is RolloutState.RUNNING
        fleet.now_ns += 1
        fleet.settle()
        assert fleet.rollout.state is RolloutState.FAILED
        assert fleet.deployments["dep-pi-00"].reason == "no success within 300 s; last heard: pending"
        assert fleet.reached() == 1

    def test_a_failure_below_the_error_threshold_is_lived_with(self) -> None:
        rollout = replace(make_rollout([IDS[:10], IDS[10:20]]), error_threshold_ratio=0.2, success_threshold_ratio=0.8)
        fleet = Fleet(rollout, lambda device_id: bad(device_id) if device_id in ("pi-03", "pi-13") else good(device_id))
        fleet.settle()
        assert fleet.rollout.state is RolloutState.SUCCEEDED
        assert sum(state is DeploymentState.ROLLED_BACK for state in fleet.states().values()) == 2

    def test_too_many_failures_stop_at_once_and_take_back_what_is_not_committed(self) -> None:
        rollout = replace(make_rollout([IDS[:10], IDS[10:]]), error_threshold_ratio=0.2)
        fleet = Fleet(rollout, lambda device_id: bad(device_id) if device_id < "pi-03" else None)
        fleet.settle()
        assert fleet.rollout.state is RolloutState.FAILED
        assert set(fleet.states().values()) == {DeploymentState.ROLLED_BACK, DeploymentState.CANCELLED}
        assert in_force(fleet.deployments.values()) == ()

    def test_a_wave_that_settles_with_too_few_successes_fails(self) -> None:
        rollout = replace(make_rollout([IDS[:10]]), error_threshold_ratio=0.5, success_threshold_ratio=0.9)
        fleet = Fleet(rollout, lambda device_id: bad(device_id) if device_id < "pi-03" else good(device_id))
        fleet.settle()
        assert fleet.rollout.state is RolloutState.FAILED
        assert "too few devices" in fleet.rollout.reason

    def test_early_successes_do_not_dilute_a_late_bad_wave(self) -> None:
        rollout = replace(make_rollout([IDS[:30], IDS[30:35], IDS[35:]]), error_threshold_ratio=0.2)
        fleet = Fleet(rollout, lambda device_id: bad(device_id) if device_id >= "pi-30" else good(device_id))
        fleet.settle()
        assert (fleet.rollout.state, fleet.rollout.active_wave) == (RolloutState.FAILED, 1)
        assert fleet.states()["pi-39"] is DeploymentState.CANCELLED
        assert fleet.states()["pi-00"] is DeploymentState.COMMITTED

    def test_it_pauses_after_a_wave_when_told_and_goes_on_when_resumed(self) -> None:
        fleet = Fleet(replace(make_rollout([IDS[:1], IDS[1:4]]), pauses_after_wave=True), good)
        fleet.settle()
        assert (fleet.rollout.state, fleet.reached()) == (RolloutState.PAUSED, 1)
        fleet.rollout, changed = resume(fleet.rollout, tuple(fleet.deployments.values()), fleet.now_ns)
        fleet.keep(changed)
        fleet.settle()
        assert (fleet.rollout.state, fleet.reached()) == (RolloutState.SUCCEEDED, 4)

    def test_a_paused_rollout_starts_no_wave_but_finishes_what_is_under_way(self) -> None:
        fleet = Fleet(make_rollout([IDS[:1], IDS[1:4]]), silent)
        fleet.settle()
        fleet.rollout = pause(fleet.rollout)
        fleet.behave = good
        fleet.settle()
        assert (fleet.rollout.state, fleet.reached()) == (RolloutState.PAUSED, 1)
        assert fleet.states()["pi-00"] is DeploymentState.COMMITTED
        with pytest.raises(ConflictError):
            pause(fleet.rollout)

    def test_an_abort_keeps_what_is_committed_and_a_rollback_does_not(self) -> None:
        fleet = Fleet(make_rollout([IDS[:1], IDS[1:3], IDS[3:5]]), lambda name: good(name) if name == "pi-00" else None)
        fleet.settle()
        before = (fleet.rollout, dict(fleet.deployments))
        fleet.rollout, changed = abort(fleet.rollout, tuple(fleet.deployments.values()), "a person", fleet.now_ns)
        fleet.keep(changed)
        assert fleet.rollout.state is RolloutState.ABORTED
        assert [fleet.states()[name] for name in IDS[:5]] == [
            DeploymentState.COMMITTED,
            *[DeploymentState.ROLLED_BACK] * 2,
            *[DeploymentState.CANCELLED] * 2,
        ]
        fleet.rollout, fleet.deployments = before
        fleet.rollout, changed = roll_back(fleet.rollout, tuple(fleet.deployments.values()), "a person", fleet.now_ns)
        fleet.keep(changed)
        assert fleet.rollout.state is RolloutState.ROLLED_BACK
        assert in_force(fleet.deployments.values()) == ()
        for call in (lambda: roll_back(fleet.rollout, (), "", 0), lambda: abort(fleet.rollout, (), "", 0)):
            with pytest.raises(ConflictError):
                call()
        with pytest.raises(ConflictError):
            resume(fleet.rollout, (), 0)

    def test_a_device_that_complains_is_not_committed_before_it_stops(self) -> None:
        active = make_deployment(started_at_ns=NOW_NS, state=DeploymentState.ACTIVATED)
        running = replace(make_rollout(), active_wave=0)
        assert next_step(running, (replace(active, reason="not up at the moment"),), NOW_NS) == ()
        assert next_step(running, (active,), NOW_NS) == (Commit(("dep-1",)),)

    def test_what_nobody_wants_any_more_counts_neither_way(self) -> None:
        fleet = Fleet(make_rollout([IDS[:2], IDS[2:4]]), lambda name: good(name) if name != "pi-00" else None)
        fleet.settle()
        for name in ("dep-pi-00", "dep-pi-03"):
            gone = replace(fleet.deployments[name], state=DeploymentState.CANCELLED, reason="superseded by roll-2")
            fleet.keep((gone,))
        fleet.settle()
        assert fleet.rollout.state is RolloutState.SUCCEEDED
        assert fleet.states()["pi-02"] is DeploymentState.COMMITTED

    def test_a_rollout_of_which_nobody_wants_anything_is_aborted_with_the_reason(self) -> None:
        gone = make_deployment(started_at_ns=1, state=DeploymentState.CANCELLED)
        gone = replace(gone, reason="superseded by roll-2")
        running = replace(make_rollout(), active_wave=0)
        (action,) = next_step(running, (gone,), NOW_NS)
        after, changed = apply(running, (gone,), action, NOW_NS)
        assert (after.state, after.reason, changed) == (RolloutState.ABORTED, "superseded by roll-2", ())

    def test_a_clock_that_was_set_back_puts_no_deadline_out_of_reach(self) -> None:
        fleet = Fleet(make_rollout([IDS[:1]]), silent)
        fleet.settle()
        fleet.now_ns -= 10 * 365 * 86_400 * S
        fleet.settle()
        fleet.now_ns += 300 * S
        fleet.settle()
        assert fleet.rollout.state is RolloutState.FAILED

    def test_aborting_twice_is_aborting_once_and_an_end_says_what_can_still_be_done(self) -> None:
        aborted, _ = abort(make_rollout(), (), "a person", NOW_NS)
        assert abort(aborted, (), "another", NOW_NS) == (aborted, ())
        with pytest.raises(ConflictError, match="muster rollout rollback roll-1"):
            abort(replace(make_rollout(), state=RolloutState.SUCCEEDED), (), "too late", NOW_NS)
        with pytest.raises(ConflictError, match="muster rollout start digits:1"):
            roll_back(replace(make_rollout(), state=RolloutState.ROLLED_BACK), (), "again", NOW_NS)

    def test_an_ended_rollout_does_nothing_more(self) -> None:
        for state in set(RolloutState) - {RolloutState.RUNNING, RolloutState.PAUSED}:
            assert next_step(replace(make_rollout(), state=state), (make_deployment(),), NOW_NS) == ()

    def test_actions_are_data(self) -> None:
        rollout = make_rollout()
        started = make_deployment(started_at_ns=NOW_NS, state=DeploymentState.ACTIVATED)
        assert next_step(rollout, (make_deployment(),), NOW_NS) == (StartWave(0),)
        running = replace(rollout, active_wave=0)
        assert next_step(running, (started,), NOW_NS) == (Commit(("dep-1",)),)
        done = replace(started, state=DeploymentState.COMMITTED)
        assert next_step(running, (done,), NOW_NS) == (Complete(),)
        two = replace(running, waves=(("pi-1",), ("pi-2",)), pauses_after_wave=True)
        assert next_step(two, (done,), NOW_NS) == (Pause("wave 1 of 2 is through: approve to go on"),)
        failed = replace(started, state=DeploymentState.FAILED, reason="no")
        assert isinstance(next_step(running, (failed,), NOW_NS)[0], Abort)
        late = replace(started, grant=replace(started.grant, deadline_ns=NOW_NS))
        assert next_step(running, (late,), NOW_NS) == (FailSilent(("dep-1",), "no success within 300 s"),)

    @given(
        st.integers(1, 60),
        st.integers(0, 5),
        st.sets(st.integers(0, 59)),
        st.sets(st.integers(0, 59)),
        st.floats(0.0, 0.5),
    )
    def test_any_rollout_comes_to_an_end_and_nothing_is_left_half_way(
        self, devices: int, canary: int, bad_ones: set[int], silent_ones: set[int], threshold: float
    ) -> None:
        ids = [f"d{number:02}" for number in range(devices)]
        waves = plan_waves(ids, canary_count=min(canary, devices), then_ratios=(0.5,))
        rollout = replace(make_rollout(waves), error_threshold_ratio=threshold, success_threshold_ratio=1 - threshold)

        def behave(device_id: str) -> DeploymentState | None:
            number = int(device_id[1:])
            return None if number in silent_ones else bad(device_id) if number in bad_ones else good(device_id)

        fleet = Fleet(rollout, behave)
        for _ in range(len(waves) + 1):
            fleet.settle()
            fleet.now_ns += 301 * S
        fleet.settle()
        assert fleet.rollout.state in (RolloutState.SUCCEEDED, RolloutState.FAILED)
        assert all(is_settled(item) for item in fleet.deployments.values())
        if not (bad_ones | silent_ones) & set(range(devices)):
            assert fleet.rollout.state is RolloutState.SUCCEEDED
        if canary and {0, 1, 2} <= bad_ones:
            assert fleet.reached() <= max(1, devices * 0.05) or threshold > 0


class TestDeployments:
    @pytest.mark.parametrize(
        ("before", "reported", "after"),
        [
            (DeploymentState.PENDING, DeploymentState.VERIFIED, DeploymentState.VERIFIED),
            (DeploymentState.ACTIVATED, DeploymentState.FETCHED, None),
            (DeploymentState.ACTIVATED, DeploymentState.ACTIVATED, DeploymentState.ACTIVATED),
            (DeploymentState.ACTIVATED, DeploymentState.CANCELLED, DeploymentState.ROLLED_BACK),
            (DeploymentState.ACTIVATED, DeploymentState.ROLLED_BACK, DeploymentState.ROLLED_BACK),
            (DeploymentState.COMMITTED, DeploymentState.ROLLED_BACK, DeploymentState.ROLLED_BACK),
            (DeploymentState.FAILED, DeploymentState.COMMITTED, None),
            (DeploymentState.ROLLED_BACK, DeploymentState.FAILED, None),
            (DeploymentState.PENDING, DeploymentState.UNSPECIFIED, None),
        ],
    )
    def test_a_state_never_goes_back(
        self, before: DeploymentState, reported: DeploymentState, after: DeploymentState | None
    ) -> None:
        deployment = make_deployment(state=before, started_at_ns=1)
        found = advance(deployment, ReportedServing("digits", "dep-1", reported, "why"), NOW_NS + 5)
        assert (found.state if found else None) is after
        if found is not None:
            assert (found.reason, found.updated_at_ns) == ("why", NOW_NS + 5)
            assert found.grant.is_committed == (reported is DeploymentState.COMMITTED)
            assert advance(found, ReportedServing("digits", "dep-1", reported, "why"), NOW_NS + 6) is None, "said twice"

    def test_a_rollback_always_has_a_reason_and_no_reason_is_endless(self) -> None:
        started = make_deployment(started_at_ns=1)
        silent_one = advance(started, ReportedServing("digits", "dep-1", DeploymentState.ROLLED_BACK), NOW_NS)
        assert silent_one is not None
        assert silent_one.reason == "the device gave no reason"
        wordy = advance(started, ReportedServing("digits", "dep-1", DeploymentState.FAILED, "x" * 10**6), NOW_NS)
        assert wordy is not None
        assert len(wordy.reason) == 1000

    def test_a_newer_deployment_ends_the_unsettled_ones_of_its_device_and_model(self) -> None:
        newer = make_deployment("n", started_at_ns=5, rollout_id="roll-2")
        older = [
            make_deployment("a", started_at_ns=1),
            make_deployment("b"),
            make_deployment("c", started_at_ns=1, state=DeploymentState.COMMITTED),
            make_deployment("d", "pi-2", started_at_ns=1),
        ]
        ended = superseded(newer, older, NOW_NS)
        assert [item.deployment_id for item in ended] == ["a", "b"]
        assert {(item.state, item.reason) for item in ended} == {(DeploymentState.CANCELLED, "superseded by roll-2")}

    def test_the_newest_is_the_newest_whatever_the_clock_says(self) -> None:
        before = make_deployment("a", started_at_ns=NOW_NS, state=DeploymentState.COMMITTED)
        started = after_all(make_deployment("b", started_at_ns=5), [before])
        assert [item.deployment_id for item in in_force([before, started])] == ["b"]

    def test_reports_of_other_or_unstarted_deployments_change_nothing(self) -> None:
        reported = ReportedServing("digits", "dep-2", DeploymentState.ACTIVATED)
        assert advance(make_deployment(started_at_ns=1), reported, NOW_NS) is None
        assert advance(make_deployment("dep-2"), reported, NOW_NS) is None

    def test_the_newest_started_deployment_is_in_force(self) -> None:
        items = [
            make_deployment("a", started_at_ns=2, state=DeploymentState.COMMITTED),
            make_deployment("b", started_at_ns=3, state=DeploymentState.ROLLED_BACK),
            make_deployment("c"),
            make_deployment("d", "pi-2", started_at_ns=1),
        ]
        assert [item.deployment_id for item in in_force(items)] == ["a", "d"]
        assert has_failed(items[1])
