"""The nouns of the service, put together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from muster_controller.core.entities import DeviceRequest, FleetEvent, RequestState, StoredReport
from muster_controller.core.join_rules import GRACE_S
from muster_controller.ports import Page
from muster_controller.service import gc, recovery
from muster_controller.service.bench import Benchmarks
from muster_controller.service.broker_door import BrokerDoor
from muster_controller.service.broker_joins import BrokerJoins
from muster_controller.service.context import Context
from muster_controller.service.desired import DesiredStates
from muster_controller.service.devices import Devices
from muster_controller.service.events import Events
from muster_controller.service.fleet import Fleets, FleetStatus
from muster_controller.service.joining import Joining
from muster_controller.service.keys import SigningKeys
from muster_controller.service.live import LiveSessions
from muster_controller.service.loads import Loads
from muster_controller.service.models import Models
from muster_controller.service.operations import Operations
from muster_controller.service.progress import ProgressBoard
from muster_controller.service.push import Pushes
from muster_controller.service.renewals import Renewals
from muster_controller.service.reports import Reports
from muster_controller.service.rollout import Rollouts
from muster_controller.service.select import Selections
from muster_controller.service.sessions import Sessions
from muster_controller.service.tokens import Tokens
from muster_controller.service.uploads import Uploads
from muster_controller.service.version import product_version
from muster_devices.failpoint import hit
from muster_protos.errors import MusterError
from muster_protos.model import BenchmarkPhase, ReportedState, Telemetry

_log = logging.getLogger(__name__)

TELEMETRY_KEPT_S = 7 * 86_400
EVENTS_KEPT_S = 90 * 86_400  # and rejected reports
EVENTS_KEPT = 1_000_000
EVENTS_KEPT_PER_DEVICE = 20_000


class Service:
    """One controller over one set of ports. ``start`` before use, or its parts in turn; ``close`` after; ``tick`` once
    a second.
    """

    def __init__(self, context: Context, grace_s: float = GRACE_S) -> None:
        """``grace_s``: how long after its end a certificate is still renewed."""
        self._context = context
        store, clock = context.store, context.clock
        self.fleets = Fleets(store)
        self.events = Events(store, context.feed, clock)
        self.progress = ProgressBoard(context.feed, clock)
        self.uploads = Uploads(context.folder / "uploads")
        self.operations = Operations(store, clock, self.events)
        self.desired = DesiredStates(context, self.fleets.fleet)
        self.keys = SigningKeys(context, self.desired, self.events)
        self.live = LiveSessions()
        self.joining = Joining(store, context.authority, clock, self.events)
        self.renewals = Renewals(context.authority, clock, self.joining, self.events, grace_s)
        self.broker_door = BrokerDoor(self.renewals)
        self.broker_joins = BrokerJoins(store, context.authority, self.joining, self.fleets.fleet)
        self.tokens = Tokens(store, clock, self.joining, self.broker_joins)
        self.models = Models(context, self.events, self.operations, self.uploads)
        self.pushes = Pushes(store, self.desired, self.events)
        self.bench = Benchmarks(store, clock, self.desired, self.events)
        self.selections = Selections(store, clock, self.events)
        self.rollouts = Rollouts(store, clock, self.desired, self.selections, self.events)
        self.devices = Devices(store, self.events, self.live, self.rollouts, context.authority)
        self.loads = Loads(store, clock, self.desired, self.events)
        reports = Reports(store, context.feed, clock, self.events, self.desired)
        reports.follow(self._answered)
        reports.follow_loads(self.loads.tell_end)
        self.sessions = Sessions(
            context, self.fleets, self.joining, self.desired, reports, self.live, self.progress, self.events
        )
        self.sessions.follow(self._reported, self.bench.inventory_changed)
        self.joining.follow(self._replaced)

    def start(self) -> None:
        """Take up what an earlier controller left, all of it."""
        self.begin()
        self.recover()
        self.desired.refresh_rest()

    def begin(self) -> None:
        """What comes before the first session: nothing is online yet."""
        self.fleets.reset_presence(self._context.clock.now_ns())
        self.operations.recover()

    def recover(self) -> None:
        """What followed from reports that were stored, but was not come to, is done now; devices may be here already.

        ``desired.refresh_rest`` comes after it, in its own time: whoever says hello has its own composed anew.
        """
        hit("start: recovers")
        recovery.retry_failed(self._context.store, self.bench)
        recovery.tell_ends(self._context.store, self.bench)
        self.keys.sign_again()
        self.loads.tell_ends()
        self.desired.begin_refresh()
        self._decide_what_is_undecided()
        hit("start: recovered")
        self.rollouts.tick()

    def status(self) -> FleetStatus:
        """The fleet in numbers."""
        skew_s, device_id = self.sessions.worst_clock()
        summary = self.fleets.status(product_version())
        return replace(summary, worst_clock_skew_s=skew_s, worst_clock_device_id=device_id)

    def tick(self) -> None:
        """What time alone brings about. Call it about once a second."""
        self.rollouts.tick()
        self.loads.expire(self._context.clock.now_ns())

    def clean(self) -> None:
        """Free what nobody needs any more. Call it about once an hour."""
        now_ns = self._context.clock.now_ns()
        self._context.store.prune_telemetry(now_ns - TELEMETRY_KEPT_S * 10**9)
        self._context.store.prune_events(now_ns - EVENTS_KEPT_S * 10**9, EVENTS_KEPT, EVENTS_KEPT_PER_DEVICE)
        self._context.store.prune_rejected_reports(now_ns - EVENTS_KEPT_S * 10**9)
        self.forget_the_removed()
        self.uploads.prune(now_ns)
        self.tokens.prune()
        if self.keys.sign_again():  # what a rotation has missed: made beside it, or the store was locked
            self.desired.refresh_all()
        self.collect_garbage()

    def forget_the_removed(self) -> None:
        """What is remembered of devices in memory, of those that are in the fleet no more."""
        living = frozenset(device.device_id for device in self.devices.every())
        self.sessions.keep_only(living)
        self.renewals.keep_only(living)
        self.desired.keep_only(living)

    def collect_garbage(self) -> tuple[str, ...]:
        """Remove unreferenced artifacts, unless an operation may be shelving some just now."""
        if self.operations.is_any_running():
            return ()
        return gc.collect(self._context.store, self._context.artifacts)

    def close(self) -> None:
        self.sessions.close()
        self.operations.close()

    def remove_model(self, reference: str) -> None:
        """The model with everything of it; devices drop what they held. ConflictError while one serves it."""
        model = self.models.get(reference)
        devices = self.devices.every()
        self.models.remove(reference)
        for device in devices:
            self.desired.refresh(device.device_id)
        _log.info("model %s removed", model.model_id)

    def artifact_path(self, sha256: str) -> Path:
        return self._context.artifacts.path(sha256)

    def telemetry(
        self, device: str, since_ns: int, model_id: str | None = None, limit: int = 1000
    ) -> tuple[Telemetry, ...]:
        return self._context.store.list_telemetry(self.devices.get(device).device_id, since_ns, model_id, limit)

    def reports(self, device: str, is_rejected: bool | None, cursor: str, limit: int) -> Page[StoredReport]:
        """In the order of arrival; "" = of every device."""
        device_id = self.devices.get(device).device_id if device else None
        return self._context.store.list_reports(device_id, is_rejected, cursor, limit)

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` whenever something of ``topic`` changed; returns the unsubscriber."""
        return self._context.feed.subscribe(topic, callback)

    def last_event_sequence(self) -> int:
        newest = self.newest_events(None, None, 1)
        return newest[-1].sequence if newest else 0

    def newest_events(self, device_id: str | None, kind: str | None, limit: int) -> tuple[FleetEvent, ...]:
        """The last ``limit`` events, oldest first."""
        return self._context.store.newest_events(device_id, kind, limit)

    def store_answers(self) -> str:
        """The fleet's name, read from the store just now."""
        fleet = self._context.store.fleet()
        return fleet.name if fleet else ""

    def _reported(self, device_id: str, reported: ReportedState) -> None:
        self.rollouts.follow_reported(device_id, reported)
        self.bench.follow_reported(device_id, reported)
        failed = [(item.request_id, item.reason) for item in reported.loads if item.phase is BenchmarkPhase.FAILED]
        if failed:
            self.loads.follow_failed(device_id, failed)

    def _replaced(self, device_id: str) -> None:
        reason = "the device was replaced by other hardware"
        self.pushes.forget(device_id)
        self.rollouts.cancel_device(device_id, reason, with_committed=True)
        self.loads.follow_failed(device_id, [(load.load_id, reason) for load in self.loads.list(device_id)])

    def _answered(self, request: DeviceRequest, attempt: int, has_failed: bool) -> None:
        """Retry what failed; decide again when a device's part of a run is through."""
        device_id = request.device_id
        if has_failed and request.state is RequestState.FAILED and request.request.attempt == attempt:
            self.bench.attempt_failed(request, request.reason)
            self.desired.refresh(device_id)
        self.bench.tell_when_done(request.run_id)
        self._decide_again(request)

    def _decide_what_is_undecided(self) -> None:
        if not self._context.store.list_policies():
            return
        for device, request in recovery.undecided(self._context.store, self.devices.every()):
            try:
                if self.selections.has_unseen_results(device, request):
                    self._decide_again(request)
            except MusterError:
                _log.exception("deciding for device %s after the start failed", device.device_id)

    def _decide_again(self, request: DeviceRequest) -> None:
        device_id = request.device_id
        found = self.selections.results_arrived(self.devices.get(device_id), request)
        if found is None:
            return
        decision, shall_apply = found
        if shall_apply:
            try:
                self.rollouts.apply_decision(decision)
            except MusterError as error:
                self.events.record("rollout.not_started", device_id, request.model_id, str(error)[:300])
