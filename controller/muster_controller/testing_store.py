"""The store in memory, for tests: the same contract tests hold it and the SQL stores.

It keeps nothing when the process ends; everything else is as in ``adapters/store_sqlalchemy``, whose order of methods
it follows. One file, because it is one class over a few dictionaries.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from muster_controller.core.deployments import in_force
from muster_controller.core.entities import (
    BenchmarkRun,
    Decision,
    Deployment,
    DesiredRow,
    Device,
    DeviceLoad,
    DeviceRequest,
    Fleet,
    FleetEvent,
    JoinToken,
    Model,
    ModelPolicy,
    Operation,
    Presence,
    Push,
    RequestState,
    Rollout,
    RolloutState,
    Standing,
    StoredReport,
    Variant,
)
from muster_controller.core.event_rules import KEPT_KINDS, is_controllers
from muster_controller.core.tokens import take_use
from muster_controller.core.unfold import TAKEN, Unfolded, quarantine, unfold
from muster_controller.ports import Page
from muster_protos.errors import ConflictError, InvalidInputError, NotFoundError
from muster_protos.model import BenchmarkRecord, Inventory, ReportedState, SignedEnvelope, Telemetry

T = TypeVar("T")
K = TypeVar("K")


class MemoryStore:
    """``ports.Store`` over dictionaries and one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fleet: Fleet | None = None
        self._tokens: dict[str, JoinToken] = {}
        self._devices: dict[str, Device] = {}
        self._models: dict[tuple[str, int], Model] = {}
        self._variants: dict[str, Variant] = {}
        self._policies: dict[str, ModelPolicy] = {}
        self._pushes: dict[tuple[str, str, int], Push] = {}
        self._desired: dict[str, DesiredRow] = {}
        self._runs: dict[str, BenchmarkRun] = {}
        self._requests: dict[str, DeviceRequest] = {}
        self._loads: dict[str, DeviceLoad] = {}
        self._reports: dict[tuple[str, str, int, int], StoredReport] = {}
        self._records: dict[str, tuple[str, str, BenchmarkRecord]] = {}  # device id, run id, record
        self._decisions: dict[str, Decision] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._deployments: dict[str, Deployment] = {}
        self._operations: dict[str, Operation] = {}
        self._events: list[FleetEvent] = []
        self._last_sequence = 0
        self._telemetry: list[tuple[str, Telemetry]] = []

    def close(self) -> None:
        """Nothing to give back."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile."""
        with self._lock:
            yield

    def together(self, write: Callable[[], None]) -> None:
        """Nobody else reads or writes meanwhile; what was written before an error stays, unlike in a database."""
        with self._lock:
            write()

    # fleet and tokens

    def fleet(self) -> Fleet | None:
        with self._lock:
            return self._fleet

    def init_fleet(self, fleet: Fleet) -> None:
        with self._lock:
            if self._fleet is not None:
                raise ConflictError("expected an empty store, found one that already has a fleet")
            self._fleet = fleet

    def add_token(self, token: JoinToken) -> None:
        with self._lock:
            if any(token.secret_sha256 == other.secret_sha256 for other in self._tokens.values()):
                raise ConflictError("expected a new secret, found one that is in the store")
            _add(self._tokens, token.token_id, token)

    def list_tokens(self) -> tuple[JoinToken, ...]:
        with self._lock:
            return _sorted(self._tokens)

    def revoke_token(self, token_id: str) -> None:
        with self._lock:
            self._tokens[token_id] = replace(_get(self._tokens, token_id, "join token"), is_revoked=True)

    def prune_tokens(self, before_ns: int) -> int:
        with self._lock:
            kept = {key: token for key, token in self._tokens.items() if token.expires_at_ns >= before_ns}
            count, self._tokens = len(self._tokens) - len(kept), kept
            return count

    def use_token(self, secret_sha256: str, now_ns: int) -> JoinToken:
        with self._lock:
            found = next((token for token in self._tokens.values() if token.secret_sha256 == secret_sha256), None)
            used = take_use(found, now_ns)
            self._tokens[used.token_id] = used
            return used

    # devices

    def put_device(self, device: Device) -> None:
        with self._lock:
            known = self._devices.get(device.device_id)
            self._devices[device.device_id] = (
                device
                if known is None
                else replace(
                    known,
                    certificate_serial=device.certificate_serial,
                    public_key_sha256=device.public_key_sha256,
                    inventory=device.inventory,
                    is_revoked=device.is_revoked,
                    replaced_at_ns=device.replaced_at_ns,
                    cloned_at_ns=device.cloned_at_ns,
                    clock_offset_ns=device.clock_offset_ns,
                )
            )

    def get_device(self, device_id: str) -> Device:
        with self._lock:
            return _get(self._devices, device_id, "device")

    def get_standing(self, device_id: str) -> Standing:
        device = self.get_device(device_id)
        return Standing(device.public_key_sha256, device.is_revoked)

    def list_devices(self, labels: Mapping[str, str] | None = None, cursor: str = "", limit: int = 100) -> Page[Device]:
        with self._lock:
            wanted = (labels or {}).items()
            devices = [device for device in _sorted(self._devices) if wanted <= device.labels.items()]
        return _page(devices, lambda device: device.device_id, cursor, limit)

    def revoke_device(self, device_id: str) -> None:
        self._change_device(device_id, lambda device: replace(device, is_revoked=True))

    def rename_device(self, device_id: str, name: str) -> None:
        self._change_device(device_id, lambda device: replace(device, name=name))

    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> None:
        self._change_device(device_id, lambda device: replace(device, labels=dict(labels)))

    def get_inventory(self, device_id: str) -> Inventory:
        return self.get_device(device_id).inventory

    def put_inventory(self, device_id: str, inventory: Inventory, clock_offset_ns: int | None = None) -> None:
        self._change_device(device_id, lambda device: replace(device, inventory=inventory))
        if clock_offset_ns is not None:
            self.put_clock_offset(device_id, clock_offset_ns)

    def reset_presence(self, at_ns: int) -> None:
        with self._lock:
            for device in tuple(self._devices.values()):
                if device.presence is Presence.ONLINE:
                    seen_ns = device.last_seen_ns or at_ns
                    self._devices[device.device_id] = replace(device, presence=Presence.OFFLINE, last_seen_ns=seen_ns)

    def put_presence(self, device_id: str, presence: Presence, link: str, at_ns: int) -> None:
        self._change_device(device_id, lambda device: replace(device, presence=presence, link=link, last_seen_ns=at_ns))

    def put_reported(self, device_id: str, reported: ReportedState, at_ns: int) -> None:
        self._change_device(device_id, lambda device: replace(device, reported=reported, last_seen_ns=at_ns))

    def put_certificate(self, device_id: str, serial: str) -> None:
        self._change_device(device_id, lambda device: replace(device, certificate_serial=serial))

    def put_clock_offset(self, device_id: str, offset_ns: int) -> None:
        self._change_device(device_id, lambda device: replace(device, clock_offset_ns=offset_ns))

    def put_cloned(self, device_id: str, at_ns: int) -> None:
        self._change_device(device_id, lambda device: replace(device, cloned_at_ns=at_ns))

    def _change_device(self, device_id: str, change: Callable[[Device], Device]) -> None:
        with self._lock:
            self._devices[device_id] = change(_get(self._devices, device_id, "device"))

    # models, variants, policies

    def add_model(self, model: Model, baseline: Variant) -> None:
        with self._lock:
            if (model.model_id, model.version) in self._models:
                raise ConflictError(f"expected a new version, found {model.model_id}:{model.version} in the store")
            if baseline.manifest.variant_id in self._variants:
                raise ConflictError(f"expected a new variant, found {baseline.manifest.variant_id} in the store")
            self._models[model.model_id, model.version] = model
            self.add_variant(baseline)

    def get_model(self, model_id: str, version: int | None = None) -> Model:
        with self._lock:
            found = [
                model
                for key, model in self._models.items()
                if key[0] == model_id and (version is None or key[1] == version)
            ]
        if not found:
            raise NotFoundError(f"expected a known model, found none of the id {model_id!r} and version {version}")
        return max(found, key=lambda model: model.version)

    def list_models(self, cursor: str = "", limit: int = 100) -> Page[Model]:
        with self._lock:
            newest = {key[0]: model for key, model in sorted(self._models.items())}
        return _page(_sorted(newest), lambda model: model.model_id, cursor, limit)

    def remove_model(self, model_id: str) -> None:
        with self._lock:
            if not any(key[0] == model_id for key in self._models):
                raise NotFoundError(f"expected a known model, found none of the id {model_id!r}")
            serving = [
                item
                for item in in_force(item for item in self._deployments.values() if item.model_id == model_id)
                if not self._devices[item.device_id].is_revoked
            ]
            if serving:
                raise ConflictError(f"model {model_id!r} is served by {len(serving)} device(s)")
            self._models = {key: model for key, model in self._models.items() if key[0] != model_id}
            self._variants = {k: v for k, v in self._variants.items() if v.manifest.model_id != model_id}
            self._pushes = {key: push for key, push in self._pushes.items() if push.model_id != model_id}
            self._policies.pop(model_id, None)
            for request_id, entry in self._requests.items():
                if entry.model_id == model_id and entry.state is RequestState.OPEN:
                    self._requests[request_id] = replace(
                        entry, state=RequestState.CANCELLED, reason="the model was removed"
                    )

    def add_variant(self, variant: Variant) -> None:
        manifest = variant.manifest
        with self._lock:
            if (manifest.model_id, manifest.model_version) not in self._models:
                raise NotFoundError(f"expected a known model, found none for {manifest.variant_id}")
            _add(self._variants, manifest.variant_id, variant)

    def get_variant(self, variant_id: str) -> Variant:
        with self._lock:
            return _get(self._variants, variant_id, "variant")

    def put_variant_envelope(self, variant_id: str, envelope: SignedEnvelope) -> None:
        with self._lock:
            known = _get(self._variants, variant_id, "variant")
            self._variants[variant_id] = replace(known, envelope=envelope)

    def put_variant_verdict(self, variant_id: str, is_kept: bool, dropped_reason: str) -> None:
        with self._lock:
            known = _get(self._variants, variant_id, "variant")
            self._variants[variant_id] = replace(known, is_kept=is_kept, dropped_reason=dropped_reason)

    def list_variants(self, model_id: str, version: int) -> tuple[Variant, ...]:
        with self._lock:
            return tuple(
                item
                for item in _sorted(self._variants)
                if (item.manifest.model_id, item.manifest.model_version) == (model_id, version)
            )

    def referenced_sha256s(self) -> frozenset[str]:
        with self._lock:
            refs = [model.evaluation for model in self._models.values()]
            for variant in self._variants.values():
                refs += [variant.manifest.artifact, variant.manifest.golden, variant.manifest.evaluation]
        return frozenset(ref.sha256 for ref in refs if ref is not None and ref.sha256)

    def put_policy(self, policy: ModelPolicy) -> None:
        with self._lock:
            self._policies[policy.model_id] = policy

    def get_policy(self, model_id: str) -> ModelPolicy | None:
        with self._lock:
            return self._policies.get(model_id)

    def list_policies(self) -> tuple[ModelPolicy, ...]:
        with self._lock:
            return _sorted(self._policies)

    def remove_policy(self, model_id: str) -> None:
        with self._lock:
            self._policies.pop(model_id, None)

    # what devices should be

    def put_push(self, push: Push) -> None:
        with self._lock:
            if push.device_id not in self._devices or (push.model_id, push.model_version) not in self._models:
                raise NotFoundError(f"expected a known device and model, found {push.device_id!r}, {push.model_id!r}")
            self._pushes[push.device_id, push.model_id, push.model_version] = push

    def list_pushes(self, device_id: str) -> tuple[Push, ...]:
        with self._lock:
            return tuple(push for push in _sorted(self._pushes) if push.device_id == device_id)

    def remove_push(self, device_id: str, model_id: str) -> None:
        with self._lock:
            self._pushes = {key: push for key, push in self._pushes.items() if key[:2] != (device_id, model_id)}

    def desired(self, device_id: str) -> DesiredRow | None:
        with self._lock:
            return self._desired.get(device_id)

    def compare_and_set_desired(self, row: DesiredRow, expected_version: int) -> None:
        with self._lock:
            _get(self._devices, row.device_id, "device")
            stored = self._desired.get(row.device_id)
            found = stored.version if stored else 0
            if found != expected_version:
                raise ConflictError(f"expected version {expected_version} of {row.device_id!r}, found {found}")
            self._desired[row.device_id] = row

    # benchmarks and loads

    def add_run(self, run: BenchmarkRun, requests: Sequence[DeviceRequest]) -> None:
        with self._lock:
            ids = [entry.request.request_id for entry in requests]
            if len(set(ids)) != len(ids) or any(request_id in self._requests for request_id in ids):
                raise ConflictError("expected new request ids, found one twice")
            if any(entry.run_id not in (run.run_id, *self._runs) for entry in requests):
                raise NotFoundError("expected requests of a known run")
            _add(self._runs, run.run_id, run)
            self._requests.update(zip(ids, requests, strict=True))

    def get_run(self, run_id: str) -> BenchmarkRun:
        with self._lock:
            return _get(self._runs, run_id, "run")

    def list_runs(self, cursor: str = "", limit: int = 100) -> Page[BenchmarkRun]:
        with self._lock:
            return _page(_sorted(self._runs), lambda run: run.run_id, cursor, limit)

    def get_request(self, request_id: str) -> DeviceRequest:
        with self._lock:
            return _get(self._requests, request_id, "benchmark request")

    def list_requests(
        self, run_id: str | None = None, device_id: str | None = None, state: RequestState | None = None
    ) -> tuple[DeviceRequest, ...]:
        with self._lock:
            return tuple(
                entry
                for entry in _sorted(self._requests)
                if _is(entry.run_id, run_id) and _is(entry.device_id, device_id) and _is(entry.state, state)
            )

    def put_request_state(self, request_id: str, attempt: int, state: RequestState, reason: str) -> None:
        with self._lock:
            entry = _get(self._requests, request_id, "benchmark request")
            if entry.request.attempt != attempt:
                raise NotFoundError(f"expected attempt {attempt} of {request_id!r}, found {entry.request.attempt}")
            self._requests[request_id] = replace(entry, state=state, reason=reason)

    def retry_request(self, request_id: str, attempt: int) -> None:
        with self._lock:
            entry = _get(self._requests, request_id, "benchmark request")
            if entry.request.attempt != attempt:
                raise ConflictError(f"expected attempt {attempt} of {request_id!r}, found {entry.request.attempt}")
            request = replace(entry.request, attempt=attempt + 1)
            self._requests[request_id] = replace(entry, request=request, state=RequestState.OPEN, reason="")

    def put_load(self, load: DeviceLoad) -> None:
        with self._lock:
            self._loads[load.load_id] = load

    def get_load(self, load_id: str) -> DeviceLoad:
        with self._lock:
            return _get(self._loads, load_id, "load")

    def list_loads(self, device_id: str | None = None, state: RequestState | None = None) -> tuple[DeviceLoad, ...]:
        with self._lock:
            return tuple(
                load for load in _sorted(self._loads) if _is(load.device_id, device_id) and _is(load.state, state)
            )

    # reports and records

    def store_reports(self, reports: Sequence[StoredReport]) -> tuple[StoredReport, ...]:
        with self._lock:
            stored: list[StoredReport] = []
            for item in [unfold(report) for report in reports]:
                key = (item.report.device_id, item.report.request_id, item.report.attempt, item.report.sequence)
                known = self._reports.get(key)
                if known is None:
                    stored.append(self._store(item))
                    self._reports[key] = stored[-1]
                elif known.payload != item.report.payload:
                    stored.append(replace(item.report, rejected_reason=TAKEN))
            return tuple(stored)

    def _store(self, item: Unfolded) -> StoredReport:
        if item.record is not None and item.record.record_id in self._records:
            item = quarantine(item.report, f"the record id {item.record.record_id!r} is taken")
        report = item.report
        if item.record is not None:
            request = self._requests.get(report.request_id)
            run_id = request.run_id if request is not None and request.device_id == report.device_id else ""
            self._records[item.record.record_id] = (report.device_id, run_id, item.record)
        if item.event is not None:
            self.add_event(item.event)
            return report
        entry = self._requests.get(report.request_id)
        if (
            item.result is None
            and entry is not None
            and (entry.device_id, entry.request.attempt) == (report.device_id, report.attempt)
            and entry.state is RequestState.OPEN
        ):
            self._requests[report.request_id] = replace(entry, state=item.outcome, reason=item.reason)
        load = self._loads.get(report.request_id)
        if (
            item.record is None
            and load is not None
            and load.device_id == report.device_id
            and load.state is RequestState.OPEN
        ):
            self._loads[report.request_id] = replace(load, state=item.outcome, reason=item.reason, result=item.result)
        return report

    def list_reports(
        self, device_id: str | None = None, is_rejected: bool | None = None, cursor: str = "", limit: int = 100
    ) -> Page[StoredReport]:
        with self._lock:
            found = {
                position: report
                for position, report in enumerate(self._reports.values(), start=1)
                if _is(report.device_id, device_id) and _is(report.rejected_reason != "", is_rejected)
            }
        return _page_by_position(found, cursor, limit, is_newest_first=False)

    def prune_rejected_reports(self, before_ns: int) -> int:
        with self._lock:
            old = [key for key, r in self._reports.items() if r.rejected_reason and r.received_at_ns < before_ns]
            for key in old:
                del self._reports[key]
            return len(old)

    def forget_reports(self, device_id: str) -> None:
        with self._lock:
            self._reports = {key: report for key, report in self._reports.items() if key[0] != device_id}

    def list_records(
        self,
        model_id: str | None = None,
        version: int | None = None,
        device_id: str | None = None,
        run_id: str | None = None,
        cursor: str = "",
        limit: int = 1000,
    ) -> Page[BenchmarkRecord]:
        with self._lock:
            found = {
                position: record
                for position, (owner, record_run_id, record) in enumerate(self._records.values(), start=1)
                if _is(record.model_id, model_id)
                and _is(record.model_version, version)
                and _is(owner, device_id)
                and _is(record_run_id, run_id)
            }
        return _page_by_position(found, cursor, limit, is_newest_first=False)

    def get_record(self, record_id: str) -> BenchmarkRecord:
        with self._lock:
            return _get(self._records, record_id, "record")[2]

    # decisions and rollouts

    def add_decision(self, decision: Decision) -> None:
        with self._lock:
            _add(self._decisions, decision.decision_id, decision)

    def get_decision(self, decision_id: str) -> Decision:
        with self._lock:
            return _get(self._decisions, decision_id, "decision")

    def list_decisions(
        self, model_id: str | None = None, device_id: str | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Decision]:
        with self._lock:
            found = {
                position: decision
                for position, decision in enumerate(self._decisions.values(), start=1)
                if _is(decision.model_id, model_id) and _is(decision.device_id, device_id)
            }
        return _page_by_position(found, cursor, limit, is_newest_first=True)

    def add_rollout(self, rollout: Rollout, deployments: Sequence[Deployment]) -> None:
        with self._lock:
            if any(item.deployment_id in self._deployments for item in deployments):
                raise ConflictError("expected new deployment ids, found one in the store")
            _add(self._rollouts, rollout.rollout_id, rollout)
            self._deployments.update({item.deployment_id: item for item in deployments})

    def get_rollout(self, rollout_id: str) -> Rollout:
        with self._lock:
            return _get(self._rollouts, rollout_id, "rollout")

    def list_rollouts(self, cursor: str = "", limit: int = 100) -> Page[Rollout]:
        with self._lock:
            return _page(_sorted(self._rollouts), lambda rollout: rollout.rollout_id, cursor, limit)

    def open_rollouts(self) -> tuple[Rollout, ...]:
        with self._lock:
            is_open = (RolloutState.RUNNING, RolloutState.PAUSED)
            return tuple(rollout for rollout in _sorted(self._rollouts) if rollout.state in is_open)

    def put_rollout(
        self,
        rollout: Rollout,
        expected_state: str,
        deployments: Sequence[Deployment] = (),
        added: Sequence[Deployment] = (),
    ) -> None:
        with self._lock:
            found = _get(self._rollouts, rollout.rollout_id, "rollout").state.value
            if found != expected_state:
                raise ConflictError(f"expected rollout {rollout.rollout_id!r} to be {expected_state}, found it {found}")
            for deployment in deployments:
                _get(self._deployments, deployment.deployment_id, "deployment")
            if any(item.deployment_id in self._deployments for item in added):
                raise ConflictError("expected new deployment ids, found one in the store")
            self._rollouts[rollout.rollout_id] = rollout
            self._deployments.update({item.deployment_id: item for item in (*deployments, *added)})

    def list_deployments(self, rollout_id: str | None = None, device_id: str | None = None) -> tuple[Deployment, ...]:
        with self._lock:
            return tuple(
                item
                for item in _sorted(self._deployments)
                if _is(item.rollout_id, rollout_id) and _is(item.device_id, device_id)
            )

    def get_deployment(self, deployment_id: str) -> Deployment:
        with self._lock:
            return _get(self._deployments, deployment_id, "deployment")

    def put_deployment(self, deployment: Deployment) -> None:
        with self._lock:
            _get(self._deployments, deployment.deployment_id, "deployment")
            self._deployments[deployment.deployment_id] = deployment

    # long work, events, telemetry

    def put_operation(self, operation: Operation) -> None:
        with self._lock:
            self._operations[operation.operation_id] = operation

    def get_operation(self, operation_id: str) -> Operation:
        with self._lock:
            return _get(self._operations, operation_id, "operation")

    def list_operations(self, cursor: str = "", limit: int = 100) -> Page[Operation]:
        with self._lock:
            return _page(_sorted(self._operations), lambda operation: operation.operation_id, cursor, limit)

    def add_event(self, event: FleetEvent) -> FleetEvent:
        with self._lock:
            self._last_sequence += 1
            self._events.append(replace(event, sequence=self._last_sequence))
            return self._events[-1]

    def list_events(
        self, after_sequence: int = 0, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        with self._lock:
            found = [
                event
                for event in self._events
                if event.sequence > after_sequence and _is(event.device_id, device_id) and _is(event.kind, kind)
            ]
        return tuple(found[:limit])

    def newest_events(
        self, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        return self.list_events(0, device_id, kind, len(self._events))[-limit:]

    def prune_events(self, before_ns: int, kept: int, kept_per_device: int) -> int:
        with self._lock:
            young = (
                event.sequence for event in self._events if event.at_ns >= before_ns and is_controllers(event.kind)
            )
            newest = [event.sequence for event in self._events][-kept:]
            floor = max(min(young, default=0), newest[0] if len(newest) == kept else 0)
            left: list[FleetEvent] = []
            of_device: Counter[str] = Counter()
            for event in reversed(self._events):
                of_device[event.device_id] += 1
                is_beyond = bool(event.device_id) and of_device[event.device_id] > kept_per_device
                if event.kind in KEPT_KINDS or (event.sequence >= floor and not is_beyond):
                    left.insert(0, event)
            pruned = len(self._events) - len(left)
            self._events = left
            return pruned

    def add_telemetry(self, device_id: str, samples: Sequence[Telemetry]) -> None:
        with self._lock:
            self._telemetry += [(device_id, sample) for sample in samples]

    def list_telemetry(
        self, device_id: str, since_ns: int, model_id: str | None = None, limit: int = 1000
    ) -> tuple[Telemetry, ...]:
        with self._lock:
            found = [
                sample
                for owner, sample in self._telemetry
                if owner == device_id and sample.at_ns >= since_ns and _is(sample.model_id, model_id)
            ]
        return tuple(sorted(found, key=lambda sample: sample.at_ns)[-limit:])

    def prune_telemetry(self, before_ns: int) -> int:
        with self._lock:
            kept = [(owner, sample) for owner, sample in self._telemetry if sample.at_ns >= before_ns]
            pruned = len(self._telemetry) - len(kept)
            self._telemetry = kept
            return pruned


def _is(value: object, wanted: object | None) -> bool:
    return wanted is None or value == wanted


def _get(rows: Mapping[str, T], key: str, what: str) -> T:
    if key not in rows:
        raise NotFoundError(f"expected a known {what}, found none of the id {key!r}")
    return rows[key]


def _add(rows: dict[str, T], key: str, value: T) -> None:
    if key in rows:
        raise ConflictError(f"expected a new row, found {key!r} in the store")
    rows[key] = value


def _sorted(rows: Mapping[K, T]) -> tuple[T, ...]:
    return tuple(value for _, value in sorted(rows.items(), key=lambda item: _sort_key(item[0])))


def _sort_key(key: object) -> tuple[object, ...]:
    return key if isinstance(key, tuple) else (key,)


def _page(items: Iterable[T], key: Callable[[T], str], cursor: str, limit: int) -> Page[T]:
    if limit < 1:
        raise InvalidInputError(f"expected a page of at least 1, found {limit}")
    rest = [item for item in items if not cursor or key(item) > cursor]
    return Page(tuple(rest[:limit]), key(rest[limit - 1]) if len(rest) > limit else "")


def _page_by_position(items: Mapping[int, T], cursor: str, limit: int, *, is_newest_first: bool) -> Page[T]:
    if cursor and not cursor.isdecimal():
        raise InvalidInputError(f"expected the next_cursor of the page before, found {cursor[:80]!r}")
    if limit < 1:
        raise InvalidInputError(f"expected a page of at least 1, found {limit}")
    positions = sorted(items, reverse=is_newest_first)
    if cursor:
        after = int(cursor)
        positions = [at for at in positions if (at < after if is_newest_first else at > after)]
    cut = positions[:limit]
    return Page(tuple(items[at] for at in cut), str(cut[-1]) if len(positions) > limit else "")
