"""Decisions: which configuration each device gets, stored with every reason, made again when results arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from muster_controller.core.entities import Decision, Device, DeviceRequest, Model, ModelPolicy, RequestState
from muster_controller.core.policy import Policy, check_policy, parse_policy
from muster_controller.core.selection import select
from muster_controller.ports import Clock, Page, Store
from muster_controller.service.context import new_id
from muster_controller.service.events import Events
from muster_controller.service.paging import every
from muster_protos.errors import NotFoundError


class Selections:
    """Chooses, keeps the decision records, and the one policy per model that decides when results arrive."""

    def __init__(self, store: Store, clock: Clock, events: Events) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    def select(self, model: Model, policy_yaml: str, devices: Sequence[Device]) -> tuple[Decision, ...]:
        """Decide for each device and remember the policy. A device that nothing satisfies gets a decision, too.

        Raises:
            InvalidInputError: the policy cannot be read, or does not fit the model.
        """
        decisions = self._decide_all(model, policy_yaml, devices)
        self._store.put_policy(ModelPolicy(model.model_id, policy_yaml, self._clock.now_ns()))
        for decision in decisions:
            self._keep(decision)
        return decisions

    def preview(self, model: Model, policy_yaml: str, devices: Sequence[Device]) -> tuple[Decision, ...]:
        """What ``select`` would decide. Nothing is kept, so these decisions have no id.

        Raises:
            InvalidInputError: as ``select``.
        """
        return tuple(replace(found, decision_id="") for found in self._decide_all(model, policy_yaml, devices))

    def get(self, decision_id: str) -> Decision:
        return self._store.get_decision(decision_id)

    def list(
        self, model_id: str | None = None, device_id: str | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Decision]:
        """Newest first."""
        return self._store.list_decisions(model_id, device_id, cursor, limit)

    def newest(self, model: Model, device_id: str) -> Decision | None:
        """The newest decision for this device and model version; none from before other hardware took its id over."""
        replaced_at_ns = self._store.get_device(device_id).replaced_at_ns
        for decision in every(lambda cursor: self._store.list_decisions(model.model_id, device_id, cursor, 20)):
            if decision.model_version == model.version and decision.created_at_ns >= replaced_at_ns:
                return decision
        return None

    def policies(self) -> tuple[ModelPolicy, ...]:
        return self._store.list_policies()

    def forget_policy(self, model_id: str) -> None:
        if self._store.get_policy(model_id) is None:
            raise NotFoundError(f'no policy for model "{model_id}"')
        self._store.remove_policy(model_id)

    def results_arrived(self, device: Device, request: DeviceRequest) -> tuple[Decision, bool] | None:
        """Decide again for the device once nothing of the run is open there; only a changed choice is kept.

        Returns:
            (the new decision, whether its policy says that it shall be applied), or None when nothing changed.
        """
        stored = self._store.get_policy(request.model_id)
        is_open = any(
            entry.model_id == request.model_id
            for entry in self._store.list_requests(
                run_id=request.run_id, device_id=device.device_id, state=RequestState.OPEN
            )
        )
        if stored is None or is_open:
            return None
        policy = parse_policy(stored.policy_yaml)
        model = self._store.get_model(request.model_id, request.model_version)
        decision = self._decide(policy, model, device)
        before = self.newest(model, device.device_id)
        if before is not None and (before.policy_yaml, before.ladder) == (decision.policy_yaml, decision.ladder):
            return None
        self._keep(decision)
        return decision, policy.is_auto and decision.chosen is not None

    def has_unseen_results(self, device: Device, request: DeviceRequest) -> bool:
        """Whether a decision now would rest on other records than the newest one of this device and version."""
        stored = self._store.get_policy(request.model_id)
        if stored is None:
            return False
        model = self._store.get_model(request.model_id, request.model_version)
        before = self.newest(model, device.device_id)
        return before is None or _record_ids(before) != _record_ids(
            self._decide(parse_policy(stored.policy_yaml), model, device)
        )

    def _decide_all(self, model: Model, policy_yaml: str, devices: Sequence[Device]) -> tuple[Decision, ...]:
        policy = parse_policy(policy_yaml)
        check_policy(policy, model)
        return tuple(self._decide(policy, model, device) for device in devices)

    def _decide(self, policy: Policy, model: Model, device: Device) -> Decision:
        variants = [v for v in self._store.list_variants(model.model_id, model.version) if v.is_kept]
        records = every(
            lambda cursor: self._store.list_records(
                model_id=model.model_id, version=model.version, device_id=device.device_id, cursor=cursor
            )
        )
        foreign = self._foreign_requests(device)
        return select(
            policy,
            model,
            variants,
            [record for record in records if record.request_id not in foreign],
            device,
            decision_id=new_id("decision"),
            created_at_ns=self._clock.now_ns(),
        )

    def _foreign_requests(self, device: Device) -> frozenset[str]:
        """Requests that other hardware answered under this id, by the age of their runs: no device's clock is asked."""
        if not device.replaced_at_ns:
            return frozenset()
        entries = self._store.list_requests(device_id=device.device_id)
        created = {run_id: self._store.get_run(run_id).created_at_ns for run_id in {entry.run_id for entry in entries}}
        return frozenset(e.request.request_id for e in entries if created[e.run_id] < device.replaced_at_ns)

    def _keep(self, decision: Decision) -> None:
        self._store.add_decision(decision)
        chosen = decision.chosen
        self._events.record(
            "decision.made" if chosen else "decision.infeasible",
            decision.device_id,
            decision.model_id,
            reason=decision.nearest_miss[:300],
            details={"decision": decision.decision_id, "chosen": chosen.variant_id if chosen else ""},
        )


def _record_ids(decision: Decision) -> frozenset[str]:
    return frozenset(candidate.record_id for candidate in decision.candidates if candidate.record_id)
