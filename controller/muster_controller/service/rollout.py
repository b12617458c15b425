"""Rollouts: planned in waves, moved by what devices report and by time, steered by people."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock

from muster_controller.core import rollout as rules
from muster_controller.core.deployments import advance, after_all, has_failed, in_force, is_underway, superseded
from muster_controller.core.entities import (
    Decision,
    Deployment,
    Device,
    Model,
    Presence,
    Rollout,
    RolloutState,
)
from muster_controller.core.grants import grant_of
from muster_controller.core.waves import plan_waves
from muster_controller.ports import Clock, Page, Store
from muster_controller.service.context import new_id
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_controller.service.nearest import unknown_id
from muster_controller.service.select import Selections
from muster_controller.service.wave_texts import ratios_of
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, InfeasibleError, MusterError, NotFoundError, TemporaryError
from muster_protos.model import DeploymentState, ReportedState

_log = logging.getLogger(__name__)

_MAX_STEPS = 1000
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class RolloutOrder:
    """What ``rollout start`` asks for; no canary and no waves = all at once."""

    policy_yaml: str = ""  # decide first, by this policy; "" = the newest decisions
    canary: int = 0
    canary_labels: Mapping[str, str] = field(default_factory=dict)
    waves: tuple[str, ...] = ()
    deadline_s: int = 3600
    error_threshold_ratio: float = 0.0
    success_threshold_ratio: float = 1.0
    pauses_after_wave: bool = False
    leaves_undecided_out: bool = False  # devices without a feasible decision; otherwise they are an error


class Rollouts:
    """Applies what ``core.rollout`` says. One lock: deployments of one rollout never move twice at once here."""

    def __init__(
        self, store: Store, clock: Clock, desired: DesiredStates, selections: Selections, events: Events
    ) -> None:
        self._store = store
        self._clock = clock
        self._desired = desired
        self._selections = selections
        self._events = events
        self._lock = RLock()
        self._stale: set[str] = set()  # devices whose desired state could not be composed

    def start(self, model: Model, devices: Sequence[Device], order: RolloutOrder) -> Rollout:
        """Roll the newest decisions out to ``devices``.

        Raises:
            NotFoundError: a device has no decision yet. InfeasibleError: one for which nothing was feasible.
            InvalidInputError: canaries and waves that make no sense.
        """
        decisions = self._decisions(model, devices, order)
        if order.leaves_undecided_out:
            decisions = {device_id: found for device_id, found in decisions.items() if found.ladder} or decisions
            devices = [device for device in devices if device.device_id in decisions]
        ordered = sorted(devices, key=lambda d: (d.presence is not Presence.ONLINE, d.device_id))
        device_ids = [device.device_id for device in ordered]
        waves = plan_waves(
            device_ids,
            canary_count=order.canary,
            canary_ids=_canaries(ordered, order.canary_labels),
            then_ratios=ratios_of(order.waves, len(device_ids)),
        )
        return self._begin(model, waves, decisions, order)

    def apply_decision(self, decision: Decision) -> Rollout | None:
        """Roll one device's new decision out; None when what is in force is the same already.

        While a rollout of this model version is under way the device becomes part of it, in its last wave: a device
        that comes later must not get ahead of the canary. Otherwise it gets a rollout of its own, at once.
        """
        with self._lock:
            for deployment in in_force(self._store.list_deployments(device_id=decision.device_id)):
                if deployment.model_id != decision.model_id or deployment.model_version != decision.model_version:
                    continue
                if tuple(rung.configuration for rung in deployment.grant.ladder) == decision.ladder:
                    return None
            joined = self._join(decision)
            if joined is not None:
                return joined
            model = self._store.get_model(decision.model_id, decision.model_version)
            decisions = {decision.device_id: decision}
            return self._begin(model, ((decision.device_id,),), decisions, RolloutOrder())

    def get(self, rollout_id: str) -> Rollout:
        try:
            return self._store.get_rollout(rollout_id)
        except NotFoundError:
            raise unknown_id("rollout", rollout_id, "muster rollout history") from None

    def list(self, cursor: str = "", limit: int = 100) -> Page[Rollout]:
        return self._store.list_rollouts(cursor, limit)

    def deployments(self, rollout_id: str) -> tuple[Deployment, ...]:
        return self._store.list_deployments(rollout_id=rollout_id)

    def pause(self, rollout_id: str, reason: str = "") -> Rollout:
        """Hold it: no further wave until ``resume`` or ``approve``."""
        with self._lock:
            before = self.get(rollout_id)
            self._save(before, rules.pause(before, _by_a_person("paused", reason)), ())
        return self.get(rollout_id)

    def approve(self, rollout_id: str, reason: str = "") -> Rollout:
        """Start the next wave after a person has looked at this one; refused while this one is not through."""
        with self._lock:
            held = self.get(rollout_id)
            if not rules.is_through(held, self.deployments(rollout_id)):
                raise ConflictError(
                    f"expected wave {held.active_wave + 1} to be through before it is approved, found it under way; "
                    f"to lift a pause: muster rollout resume {rollout_id}"
                )
            return self._resume(rollout_id, _by_a_person("approved", reason))

    def resume(self, rollout_id: str, reason: str = "") -> Rollout:
        """Lift a hold, whatever brought it about."""
        with self._lock:
            return self._resume(rollout_id, _by_a_person("resumed", reason))

    def _resume(self, rollout_id: str, reason: str) -> Rollout:
        before = self.get(rollout_id)
        after, changed = rules.resume(before, self.deployments(rollout_id), self._clock.now_ns())
        self._save(before, after, changed, reason)
        self._step(rollout_id)
        return self.get(rollout_id)

    def abort(self, rollout_id: str, reason: str = "") -> Rollout:
        """Start no more devices and take back what is not committed."""
        with self._lock:
            before = self.get(rollout_id)
            why = _by_a_person("aborted", reason)
            self._save(before, *rules.abort(before, self.deployments(rollout_id), why, self._clock.now_ns()))
        return self.get(rollout_id)

    def bare_after_rollback(self, rollout_id: str) -> tuple[str, ...]:
        """The devices that would serve nothing of the model: it has nothing there from before this rollout."""
        rollout = self.get(rollout_id)
        ended = [item for item in self.deployments(rollout_id) if item.started_at_ns > 0 and not has_failed(item)]
        return tuple(sorted({item.device_id for item in ended if self._is_only(rollout, item.device_id)}))

    def roll_back(self, rollout_id: str, reason: str = "") -> Rollout:
        """Every device back to what it served before; the rollout's reason names those that had served nothing."""
        with self._lock:
            before = self.get(rollout_id)
            bare = self.bare_after_rollback(rollout_id)
            reason = _by_a_person("rolled back", reason)
            after, changed = rules.roll_back(before, self.deployments(rollout_id), reason, self._clock.now_ns())
            if bare:
                named = ", ".join(bare[:5]) + (", ..." if len(bare) > 5 else "")
                gone = f"nothing of {before.model_id} is served any more"
                after = replace(after, reason=f"{reason}; {gone} on {named}")
                own = f"{reason}; {gone} here"
                changed = tuple(replace(item, reason=own) if item.device_id in bare else item for item in changed)
            self._save(before, after, changed)
        return self.get(rollout_id)

    def follow_reported(self, device_id: str, reported: ReportedState) -> None:
        """Move the device's deployments to where it says they are, then their rollouts."""
        if not reported.serving:
            return
        moved: set[str] = set()
        with self._lock:
            known = {item.deployment_id: item for item in self._store.list_deployments(device_id=device_id)}
            for serving in reported.serving:
                deployment = known.get(serving.deployment_id)
                if deployment is None or deployment.model_id != serving.model_id:
                    continue
                after = advance(deployment, serving, self._clock.now_ns())
                if after is not None:
                    self._store.put_deployment(after)
                    hit("rollout: deployment moved")
                    moved.add(after.rollout_id)
            for rollout_id in sorted(moved):
                self._step(rollout_id)
            if moved:
                self._refresh(device_id)

    def cancel_device(self, device_id: str, reason: str, *, with_committed: bool = False) -> None:
        """The device left the fleet: what it was doing has failed, what it had not begun is cancelled.

        What it had committed stays, for when it joins again; it goes too when other hardware takes the id over.
        """
        with self._lock:
            for deployment_id in [item.deployment_id for item in self._store.list_deployments(device_id=device_id)]:
                item = self._store.get_deployment(deployment_id)  # the step before may have moved it
                is_kept = item.state is DeploymentState.COMMITTED and not with_committed
                if is_kept or has_failed(item):
                    continue
                state = DeploymentState.FAILED if is_underway(item) else DeploymentState.CANCELLED
                ended = replace(item, state=state, reason=reason, updated_at_ns=self._clock.now_ns())
                self._store.put_deployment(ended)
                self._tell(ended)
                self._step(item.rollout_id)

    def tick(self) -> None:
        """Deadlines: silence is failure. What cannot move now is tried again, and holds no other rollout up."""
        for rollout in self._store.open_rollouts():
            try:
                with self._lock:
                    self._step(rollout.rollout_id)
            except MusterError:
                _log.exception("rollout %s could not be moved; it is tried again", rollout.rollout_id)
        with self._lock:
            for device_id in sorted(self._stale):
                self._refresh(device_id)

    def _is_only(self, rollout: Rollout, device_id: str) -> bool:
        """No other rollout's deployment of the model stands behind this one's on the device."""
        others = (d for d in self._store.list_deployments(device_id=device_id) if d.rollout_id != rollout.rollout_id)
        return not any(item.model_id == rollout.model_id for item in in_force(others))

    def _decisions(self, model: Model, devices: Sequence[Device], order: RolloutOrder) -> Mapping[str, Decision]:
        if order.policy_yaml:
            decided = self._selections.select(model, order.policy_yaml, devices)
            return {decision.device_id: decision for decision in decided}
        found: dict[str, Decision] = {}
        for device in devices:
            decision = self._selections.newest(model, device.device_id)
            if decision is not None:
                found[device.device_id] = decision
        undecided = [device.device_id for device in devices if device.device_id not in found]
        if undecided and not (order.leaves_undecided_out and found):
            raise NotFoundError(
                f"no decision for {model.model_id}:{model.version} on {', '.join(undecided[:5])}; "
                f"decide first: muster select {model.model_id} --policy FILE"
            )
        return found

    def _begin(
        self,
        model: Model,
        waves: tuple[tuple[str, ...], ...],
        decisions: Mapping[str, Decision],
        order: RolloutOrder,
    ) -> Rollout:
        infeasible = [d for d in decisions.values() if not d.ladder]
        if infeasible:
            raise _nothing_chosen(model, infeasible, is_decided_now=bool(order.policy_yaml))
        with self._lock:
            rollout = self._planned(model, waves, order)
            deployments = [
                _deployment(rollout, decisions[device_id], number)
                for number, wave in enumerate(waves)
                for device_id in wave
            ]
            self._store.add_rollout(rollout, deployments)
            hit("rollout: on record")
            details = {"rollout": rollout.rollout_id, "devices": str(len(deployments)), "waves": str(len(waves))}
            self._events.record("rollout.started", model_id=model.model_id, details=details)
            self._step(rollout.rollout_id)
        return self.get(rollout.rollout_id)

    def _join(self, decision: Decision) -> Rollout | None:
        """The newest open rollout of the decision's model version, with the device in it now; None when there is none,
        or the device has a part in it already."""
        mine = (decision.model_id, decision.model_version)
        found = [item for item in self._store.open_rollouts() if (item.model_id, item.model_version) == mine]
        if not found:
            return None
        newest = max(found, key=_age)
        if any(item.device_id == decision.device_id for item in self.deployments(newest.rollout_id)):
            return None
        try:
            joined, deployment = rules.join(newest, _deployment(newest, decision, 0))
            self._store.put_rollout(joined, newest.state.value, (), [deployment])
        except ConflictError:
            return None  # it has just ended
        details = {"rollout": newest.rollout_id, "deployment": deployment.deployment_id}
        self._events.record("rollout.joined", decision.device_id, decision.model_id, details=details)
        self._step(newest.rollout_id)
        return self.get(newest.rollout_id)

    def _planned(self, model: Model, waves: tuple[tuple[str, ...], ...], order: RolloutOrder) -> Rollout:
        """Younger than every open one, whatever the clock says: the younger takes a device over."""
        newest_ns = max((found.created_at_ns for found in self._store.open_rollouts()), default=0)
        return Rollout(
            rollout_id=new_id("rollout"),
            model_id=model.model_id,
            model_version=model.version,
            state=RolloutState.RUNNING,
            reason="",
            created_at_ns=max(self._clock.now_ns(), newest_ns + 1),
            waves=waves,
            active_wave=-1,
            deadline_s=order.deadline_s,
            error_threshold_ratio=order.error_threshold_ratio,
            success_threshold_ratio=order.success_threshold_ratio,
            pauses_after_wave=order.pauses_after_wave,
        )

    def _step(self, rollout_id: str) -> None:
        """Ask the rules and apply their answer until they have nothing more to say."""
        for _ in range(_MAX_STEPS):
            rollout = self._store.get_rollout(rollout_id)
            actions = rules.next_step(rollout, self.deployments(rollout_id), self._clock.now_ns())
            if not actions:
                return
            for action in actions:
                before = self._store.get_rollout(rollout_id)
                after, changed = rules.apply(before, self.deployments(rollout_id), action, self._clock.now_ns())
                self._save(before, after, changed)
        _log.error("rollout %s did not come to rest in %d steps", rollout_id, _MAX_STEPS)

    def _save(self, before: Rollout, after: Rollout, changed: Sequence[Deployment], reason: str = "") -> None:
        """One transaction, so that a controller that dies here finds the rollout before or after, never between."""
        waiting = {item.deployment_id for item in self.deployments(before.rollout_id) if item.started_at_ns == 0}
        starting = {item.deployment_id for item in changed if item.started_at_ns > 0} & waiting
        changed = [self._as_newest(item) if item.deployment_id in starting else item for item in changed]
        for item in changed:
            if item.deployment_id in starting:
                self._supersede(item, before)
        if after == before and not changed:
            return
        try:
            self._store.put_rollout(after, before.state.value, changed)
        except ConflictError:
            _log.info("rollout %s was moved by somebody else", before.rollout_id)
            return
        hit("rollout: deployments saved")
        for deployment in changed:
            if has_failed(deployment):
                self._tell(deployment)
        if after.state is not before.state:
            details = {"rollout": after.rollout_id}
            self._events.record(f"rollout.{after.state.value}", "", after.model_id, reason or after.reason, details)
        for device_id in sorted({deployment.device_id for deployment in changed}):
            self._refresh(device_id)

    def _refresh(self, device_id: str) -> None:
        """Compose what the device shall be; tried again with the next tick when the store cannot take it now."""
        try:
            self._desired.refresh(device_id)
        except (TemporaryError, ConflictError) as error:
            _log.warning("the desired state of %s is composed again later: %s", device_id, error)
            self._stale.add(device_id)
        else:
            self._stale.discard(device_id)

    def _as_newest(self, item: Deployment) -> Deployment:
        """A deployment that starts now is the newest of its device, also after the clock was set back."""
        others = self._store.list_deployments(device_id=item.device_id)
        return after_all(item, [other for other in others if other.deployment_id != item.deployment_id])

    def _supersede(self, item: Deployment, rollout: Rollout) -> None:
        """End what older rollouts still have open on the device of a deployment that is about to start.

        Before the start: a controller that dies in between does it again, and no device is asked for two things.
        """
        others = self._store.list_deployments(device_id=item.device_id)
        older = [other for other in others if _age(self._store.get_rollout(other.rollout_id)) < _age(rollout)]
        for ended in superseded(item, older, self._clock.now_ns()):
            self._store.put_deployment(ended)
            self._tell(ended)
            self._step(ended.rollout_id)

    def _tell(self, deployment: Deployment) -> None:
        """Say what was decided here; what happens on a device, the device says itself."""
        self._events.record(
            f"deployment.{deployment.state.value}",
            deployment.device_id,
            deployment.model_id,
            deployment.reason,
            {"deployment": deployment.deployment_id, "rollout": deployment.rollout_id},
        )


def _by_a_person(what: str, reason: str) -> str:
    """``paused by a person``, with why, when it was said."""
    return f"{what} by a person: {reason[:_MAX_REASON]}" if reason else f"{what} by a person"


def _nothing_chosen(model: Model, infeasible: Sequence[Decision], *, is_decided_now: bool) -> InfeasibleError:
    """What stands in the way and how to get on; the newest decision counts, whatever was decided before."""
    misses = "; ".join(f"{d.device_id}: {d.nearest_miss}" for d in infeasible[:3])
    if is_decided_now:
        return InfeasibleError(f"no variant satisfies the policy on {len(infeasible)} device(s); {misses}")
    named = ", ".join(f"{d.device_id} ({d.decision_id})" for d in infeasible[:3]) + (", ..." if infeasible[3:] else "")
    return InfeasibleError(
        f"no variant satisfies the policy of the newest decision of {named}; {misses}; it counts, not an earlier one: "
        f"decide again by a policy that can be met: muster select {model.model_id} --policy FILE"
    )


def _age(rollout: Rollout) -> tuple[int, str]:
    return rollout.created_at_ns, rollout.rollout_id


def _canaries(devices: Sequence[Device], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the devices that bear every one of ``labels``; an id that no device has when none does."""
    if not labels:
        return ()
    wanted = labels.items()
    found = tuple(d.device_id for d in devices if all(d.labels.get(key) == value for key, value in wanted))
    return found or ("",)


def _deployment(rollout: Rollout, decision: Decision, wave: int) -> Deployment:
    deployment_id = new_id("deployment")
    return Deployment(
        deployment_id=deployment_id,
        rollout_id=rollout.rollout_id,
        device_id=decision.device_id,
        model_id=rollout.model_id,
        model_version=rollout.model_version,
        decision_id=decision.decision_id,
        grant=grant_of(decision, deployment_id),
        wave=wave,
        state=DeploymentState.PENDING,
        reason="",
        updated_at_ns=rollout.created_at_ns,
    )
