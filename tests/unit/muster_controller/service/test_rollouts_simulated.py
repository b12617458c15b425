"""A fleet of agents' own plans under the real rollouts, with everything that may go wrong between and inside them.

Messages get lost, come late and twice; devices fall silent, lie, leave; clocks jump; controllers die between any two
writes and start again; people hold, abort, roll back, and begin another rollout over the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster_agent.core import transitions
from muster_agent.core.known import Facts, Known, Live, ServingRecord
from muster_agent.core.plan import plan
from muster_agent.core.reported import reported_state
from muster_agent.core.steps import Activate, Collect, Commit, Resume, Rollback, SelfTest, StopServing
from muster_agent.core.wanted import Wanted, WantedModel, artifacts_of
from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.core.deployments import in_force, is_settled
from muster_controller.core.entities import Deployment, Rollout, RolloutState
from muster_controller.core.waves import plan_waves
from muster_controller.service.events import Events
from muster_controller.service.rollout import Rollouts
from muster_controller.testing_store import MemoryStore
from muster_controller.testing_values import NOW_NS, make_deployment, make_rollout, make_variant
from muster_protos.errors import ConflictError
from muster_protos.model import (
    DeploymentState,
    DesiredModel,
    LocalReady,
    ReportedServing,
    ReportedState,
    ServingGrant,
)

S = 10**9
DEADLINE_S = 300
MODEL = "digits"
VARIANT = make_variant()
FINAL = {RolloutState.SUCCEEDED, RolloutState.FAILED, RolloutState.ABORTED, RolloutState.ROLLED_BACK}


class KilledError(Exception):
    """The controller dies here."""


class MortalStore(MemoryStore):
    """Kills whoever makes the write that the fuse is set to: before it or after it."""

    fuse = 0
    is_after = False

    def put_rollout(
        self,
        rollout: Rollout,
        expected_state: str,
        deployments: Sequence[Deployment] = (),
        added: Sequence[Deployment] = (),
    ) -> None:
        self._burn(is_after=False)
        super().put_rollout(rollout, expected_state, deployments, added)
        self._burn(is_after=True)

    def put_deployment(self, deployment: Deployment) -> None:
        self._burn(is_after=False)
        super().put_deployment(deployment)
        self._burn(is_after=True)

    def _burn(self, *, is_after: bool) -> None:
        if self.fuse and is_after is self.is_after:
            self.fuse -= 1
            if not self.fuse:
                raise KilledError


class Clock:
    now = NOW_NS

    def now_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return self.now


class Wishes:
    """``DesiredStates`` without signatures: per device the newest grant and its version."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.newest: dict[str, tuple[int, ServingGrant | None]] = {}

    def refresh(self, device_id: str) -> None:
        found = in_force(self._store.list_deployments(device_id=device_id))
        grant = found[0].grant if found else None
        version, before = self.newest.get(device_id, (0, None))
        if grant != before:
            self.newest[device_id] = (version + 1, grant)


class Agent:
    """The agent's own plan over its own record; ``is_bad``: no release of the newest rollout works here."""

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.version = 0
        self.wanted: Wanted | None = None
        self.record: ServingRecord | None = None
        self.live: Live | None = None
        self.activated: set[str] = set()
        self.sent: list[ReportedState] = []

    def adopt(self, version: int, grant: ServingGrant | None) -> None:
        if version > self.version:
            models = () if grant is None else (WantedModel(DesiredModel(MODEL, 1, (), grant), (VARIANT.manifest,)),)
            self.version, self.wanted = version, Wanted(version=version, models=models)

    def known(self) -> Known:
        cached = frozenset(ref.sha256 for ref in artifacts_of(VARIANT.manifest))
        return Known(cached=cached, serving={MODEL: self.record} if self.record else {})

    def facts(self, now_ns: int) -> Facts:
        return Facts(now_ns=now_ns, is_online=False, live={MODEL: self.live} if self.live else {})

    def work(self, now_ns: int, steps: int, bad: set[str]) -> None:
        for _ in range(steps):
            planned = [
                step for step in plan(self.wanted, self.known(), self.facts(now_ns)) if type(step) is not Collect
            ]
            if not planned:
                return
            self.do(planned[0], bad)

    def do(self, step: object, bad: set[str]) -> None:
        record = self.record or ServingRecord(MODEL)
        model = self.wanted.model(MODEL) if self.wanted else None
        match step:
            case SelfTest(_, deployment_id, configuration):
                self.record = transitions.passed_test(record, deployment_id, configuration)
            case Activate(_, deployment_id):
                assert model is not None
                self.record = transitions.begun(record, model)
                self.activated.add(deployment_id)
                if deployment_id in bad:
                    self.conclude(model, DeploymentState.ROLLED_BACK, "it broke")
                else:
                    self.load(model)
            case Resume():
                assert record.target is not None
                self.load(record.target)
            case Commit():
                assert model is not None
                self.record = transitions.committed(record, model)
            case Rollback(_, deployment_id, state, reason):
                gone = record.trial if record.trial and record.trial.deployment_id == deployment_id else model
                assert gone is not None
                self.conclude(gone, state, reason)
            case StopServing():
                self.record = self.live = None
            case _:
                raise AssertionError(f"an agent that lacks nothing was planned {step}")

    def load(self, model: WantedModel) -> None:
        assert model.grant is not None
        self.live = Live(model.grant, (VARIANT.manifest.variant_id,), VARIANT.manifest.variant_id)
        self.record = transitions.ready(self.record or ServingRecord(MODEL), LocalReady(http_port=1, grpc_port=2))

    def conclude(self, model: WantedModel, state: DeploymentState, reason: str) -> None:
        assert model.grant is not None
        self.record = transitions.concluded_with(self.record or ServingRecord(MODEL), model.grant, state, reason)
        if self.record.target is None:
            self.live = None

    def says(self, now_ns: int) -> ReportedState:
        self.sent.append(reported_state(self.device_id, "boot", self.wanted, self.known(), self.facts(now_ns)))
        return self.sent[-1]

    @property
    def serves(self) -> str:
        return self.live.grant.deployment_id if self.live else ""


class World:
    def __init__(self, devices: int) -> None:
        self.clock = Clock()
        self.store = MortalStore()
        self.wishes = Wishes(self.store)
        self.agents = {f"d{number:02}": Agent(f"d{number:02}") for number in range(devices)}
        self.gone: set[str] = set()
        self.bad: set[str] = set()  # deployment ids
        self.begun = 0
        self.boot()

    def boot(self) -> None:
        """As the service starts: everything composed again, then a tick."""
        events = Events(self.store, LocalChangeFeed(), self.clock)
        self.rollouts = Rollouts(self.store, self.clock, self.wishes, None, events)  # type: ignore[arg-type]
        for device_id in self.agents:
            self.wishes.refresh(device_id)
        self.rollouts.tick()

    def begin(self, canary: int, then: tuple[float, ...], threshold: float, *, is_bad: bool = False) -> str:
        """A rollout on record and nothing more: the controller died right after."""
        self.begun += 1
        rollout_id = f"roll-{self.begun}"
        ids = [device_id for device_id in self.agents if device_id not in self.gone]
        waves = plan_waves(ids, canary_count=min(canary, len(ids)), then_ratios=then)
        rollout = replace(
            make_rollout(waves, rollout_id),
            created_at_ns=NOW_NS + self.begun,
            deadline_s=DEADLINE_S,
            error_threshold_ratio=threshold,
            success_threshold_ratio=1 - threshold,
        )
        deployments = [
            make_deployment(f"{rollout_id}-{device_id}", device_id, rollout_id=rollout_id, wave=number)
            for number, wave in enumerate(waves)
            for device_id in wave
        ]
        self.bad |= {item.deployment_id for item in deployments} if is_bad else set()
        self.store.add_rollout(rollout, deployments)
        return rollout_id

    def happen(self, kind: str, number: int) -> None:
        """One thing; a controller that dies of it starts again."""
        try:
            self._happen(kind, number)
        except KilledError:
            self.boot()
        except ConflictError:
            pass  # a person asked for what cannot be: not in this state

    def _happen(self, kind: str, number: int) -> None:
        alive = [agent for agent in self.agents.values() if agent.device_id not in self.gone]
        agent = alive[number % len(alive)] if alive else None
        newest = f"roll-{self.begun}"
        match kind:
            case "round":
                present = alive[:: 1 + number % 3]  # the others are away
                for one in present:
                    self.listen(one)
                for one in present:  # all at once: nobody's report comes before another's doing
                    self.rollouts.follow_reported(one.device_id, one.says(self.clock.now))
            case "converse" if agent:
                self.converse(agent)
            case "deliver" if agent:
                agent.adopt(*self.wishes.newest.get(agent.device_id, (0, None)))
            case "work" if agent:
                agent.work(self.clock.now, 1 + number % 4, self.bad)
            case "late" if agent and agent.sent:
                self.rollouts.follow_reported(agent.device_id, agent.sent[number % len(agent.sent)])
            case "nonsense" if agent:
                self.rollouts.follow_reported(agent.device_id, nonsense(number, newest))
            case "clock":
                self.clock.now += (number % (2 * DEADLINE_S)) * S
            case "tick":
                self.rollouts.tick()
            case "kill":
                self.store.fuse, self.store.is_after = 1 + number % 5, number % 2 == 0
            case "pause":
                self.rollouts.pause(newest, "a person")
            case "resume":
                self.rollouts.resume(newest)
            case "abort":
                self.rollouts.abort(f"roll-{1 + number % self.begun}")
            case "rollback":
                self.rollouts.roll_back(f"roll-{1 + number % self.begun}")
            case "remove" if agent and len(alive) > 1:
                self.gone.add(agent.device_id)
                self.rollouts.cancel_device(agent.device_id, "removed")
            case "begin" if self.begun < 4:
                self.begin(number % 3, (0.5,), 0.0)

    def listen(self, agent: Agent) -> None:
        agent.adopt(*self.wishes.newest.get(agent.device_id, (0, None)))
        agent.work(self.clock.now, 20, self.bad)

    def converse(self, agent: Agent) -> None:
        self.listen(agent)
        self.rollouts.follow_reported(agent.device_id, agent.says(self.clock.now))

    def end(self) -> None:
        """Holds are lifted; then nothing but time and the once-a-second tick, as long as deadlines allow."""
        self.store.fuse = 0
        self.boot()
        for rollout in self.store.list_rollouts(limit=500).items:
            if rollout.state is RolloutState.PAUSED:
                self.rollouts.resume(rollout.rollout_id)
        most_waves = max(len(rollout.waves) for rollout in self.store.list_rollouts(limit=500).items)
        for _ in range(most_waves + 1):
            self.rollouts.tick()
            self.clock.now += (DEADLINE_S + 1) * S
        self.rollouts.tick()

    def check_ended(self) -> None:
        rollouts = self.store.list_rollouts(limit=500).items
        assert len(rollouts) == self.begun, "none lost, none doubled"
        assert {rollout.state for rollout in rollouts} <= FINAL
        for item in self.store.list_deployments():
            assert is_settled(item), item
            assert item.reason or item.state is DeploymentState.COMMITTED, item

    def check_devices(self) -> None:
        """Whoever comes back serves what is in force, and nothing that was not committed."""
        for agent in self.agents.values():
            if agent.device_id in self.gone:
                continue
            for _ in range(2 + 2 * self.begun):
                self.converse(agent)
            force = in_force(self.store.list_deployments(device_id=agent.device_id))
            assert agent.serves == (force[0].deployment_id if force else ""), agent.device_id
            assert not force or force[0].state is DeploymentState.COMMITTED


def nonsense(number: int, rollout_id: str) -> ReportedState:
    """Of deployments that are another's, unknown, not begun or long over, in states that make no sense."""
    states = [state for state in DeploymentState if state is not DeploymentState.COMMITTED]
    names = ("", "no-such", f"{rollout_id}-d{number % 40:02}", f"roll-1-d{number % 40:02}")
    serving = ReportedServing(
        (MODEL, "other")[number % 2], names[number % 4], states[number % len(states)], "x" * (number % 3)
    )
    return ReportedState(device_id="d00", serving=(serving, serving))


KINDS = ("round", "converse", "deliver", "work", "late", "clock", "tick", "kill", "pause", "resume")
HARSH = (*KINDS, "nonsense", "abort", "rollback", "remove", "begin")
numbers = st.integers(0, 10_000)
quiet = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def happenings(kinds: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(kinds), numbers), max_size=60)


@quiet
@given(st.integers(1, 12), st.integers(0, 3), st.sampled_from((0.0, 0.3)), happenings(HARSH))
def test_every_rollout_ends_within_its_deadlines_and_every_device_that_is_back_follows_it(
    devices: int, canary: int, threshold: float, happening: list[tuple[str, int]]
) -> None:
    world = World(devices)
    world.begin(canary, (0.5,), threshold)
    for kind, number in happening:
        world.happen(kind, number)
    world.end()
    world.check_ended()
    world.check_devices()


@quiet
@given(st.integers(1, 60), st.integers(1, 12), happenings((*KINDS, "remove")))
def test_a_bad_release_reaches_at_most_one_device_or_one_in_twenty(
    devices: int, canary: int, happening: list[tuple[str, int]]
) -> None:
    world = World(devices)
    good = world.begin(0, (), 0.0)
    world.rollouts.tick()
    for _ in range(3):
        for agent in world.agents.values():
            world.converse(agent)
    assert world.store.get_rollout(good).state is RolloutState.SUCCEEDED
    release = world.begin(canary, (0.25, 1.0), 0.0, is_bad=True)
    for kind, number in [("tick", 0), *happening, ("resume", 0), ("round", 0), ("round", 0)]:
        world.happen(kind, number)
    world.end()
    world.check_ended()
    reached = [agent for agent in world.agents.values() if f"{release}-{agent.device_id}" in agent.activated]
    assert len(reached) <= max(1, math.floor(devices * 0.05))
    for agent in world.agents.values():
        if agent.device_id not in world.gone:
            world.converse(agent)
            assert agent.serves == f"{good}-{agent.device_id}", "back to what was good"


@quiet
@given(st.integers(1, 8), st.lists(numbers, max_size=12))
def test_a_controller_that_dies_at_every_other_write_finishes_a_good_rollout_all_the_same(
    devices: int, fuses: list[int]
) -> None:
    world = World(devices)
    rollout = world.begin(1, (0.5,), 0.0)
    for fuse in [*fuses, *[0] * 12]:
        if fuse:
            world.happen("kill", fuse)
        world.happen("tick", 0)
        for number in range(devices):
            world.happen("converse", number)
    assert world.store.get_rollout(rollout).state is RolloutState.SUCCEEDED
    assert {agent.serves for agent in world.agents.values()} == {f"{rollout}-{name}" for name in world.agents}
