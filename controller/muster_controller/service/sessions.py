"""What devices say over their links, stored, acknowledged and acted upon. Implements ``ports.SessionSink``.

Invariants:
- a report is acknowledged only after the store has it durably (or has quarantined it);
- what a device says concerns that device alone: its id comes from the session, never from a message;
- an effect of a report (selection, rollout) that fails is logged and never keeps the acknowledgement back.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from muster_controller.core.entities import Presence
from muster_controller.core.sample_rate import SAMPLES_PER_S, Bucket
from muster_controller.ports import DeviceSession
from muster_controller.service.artifacts_of_device import DeviceArtifacts
from muster_controller.service.clones import Clones
from muster_controller.service.context import Context
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_controller.service.fleet import Fleets
from muster_controller.service.joining import Joining
from muster_controller.service.live import LiveSessions
from muster_controller.service.progress import ProgressBoard
from muster_controller.service.reports import Reports
from muster_protos.errors import MusterError, NotFoundError
from muster_protos.model import (
    AgentMessage,
    ControllerMessage,
    Desired,
    Goodbye,
    Hello,
    Inventory,
    JoinRequest,
    JoinResponse,
    Progress,
    RenewResponse,
    Report,
    ReportedState,
    SessionTerms,
    Telemetry,
)

_log = logging.getLogger(__name__)

_WOKEN_AT_ONCE = 100
_WAKE_AGAIN_S = 2.0  # after a failure: nothing else may ever wake this device
_MAX_OFFSET_NS = 2**62  # a clock may say anything
_OLDEST_SAMPLE_NS = 7 * 86_400 * 10**9  # as long as telemetry is kept
_CLOCK_TOLERANCE_NS = 60 * 10**9

OnReported = Callable[[str, ReportedState], None]
"""(device id, what it reported)"""

OnInventory = Callable[[str, Inventory], None]
"""(device id, what it says of itself)"""


class Sessions:
    """The service's end of every link."""

    def __init__(
        self,
        context: Context,
        fleets: Fleets,
        joining: Joining,
        desired: DesiredStates,
        reports: Reports,
        live: LiveSessions,
        progress: ProgressBoard,
        events: Events,
    ) -> None:
        self._context = context
        self._store = context.store
        self._fleets = fleets
        self._joining = joining
        self._desired = desired
        self._reports = reports
        self._live = live
        self._progress = progress
        self._events = events
        self._on_reported: OnReported | None = None
        self._on_inventory: OnInventory | None = None
        self._artifacts = DeviceArtifacts(context)
        self._clock_skews_s: dict[str, float] = {}
        self._buckets: dict[str, Bucket] = {}  # a device has one session, and that one thread
        self._clones = Clones(context, events)
        self._unsubscribers: dict[str, Callable[[], None]] = {}
        self._wakes: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pusher = threading.Thread(target=self._push_loop, name="desired-pusher", daemon=True)
        self._pusher.start()

    def follow(self, on_reported: OnReported, on_inventory: OnInventory) -> None:
        """Have these called with each reported state and for each new inventory, after they are stored."""
        self._on_reported = on_reported
        self._on_inventory = on_inventory

    def session_opened(self, session: DeviceSession) -> None:
        replaced = self._live.add(session)  # first: a removal finds it and closes it, or has been written by now
        if replaced is not None:
            replaced.close("a newer session of this device has opened")
        if not self._is_known(session):
            self._live.discard(session)
            return
        session.send(ControllerMessage(SessionTerms(self._context.clock.now_ns(), self._joining.door_url)))
        self._subscribe(session.device_id)
        self._put_presence(session, Presence.ONLINE, details={"link": session.link})
        self._wakes.put(session.device_id)  # what is desired by now; its hello, which follows, has it composed anew

    def session_closed(self, session: DeviceSession, reason: str) -> None:
        if not self._live.discard(session):
            return
        unsubscribe = self._unsubscribers.pop(session.device_id, None)
        if unsubscribe is not None:
            unsubscribe()
        try:
            self._put_presence(session, Presence.OFFLINE, reason=reason[:300])
        except NotFoundError:
            _log.info("session of device %s closed after the device was forgotten", session.device_id)

    def messages_received(self, session: DeviceSession, messages: Sequence[AgentMessage]) -> None:
        device_id = session.device_id
        bodies = [message.body for message in self._reports.quarantine.believed(device_id, messages)]
        for body in bodies:  # first: reports are judged by the inventory that it brings
            if isinstance(body, Hello):
                self._hello(session, body)
        reports = [body for body in bodies if isinstance(body, Report)]
        if reports:
            self._reports.receive(session, reports)
        samples = [body for body in bodies if isinstance(body, Telemetry)]
        if samples:
            self._take_samples(device_id, samples)
        for body in bodies:
            if isinstance(body, Progress):
                self._progress.put(device_id, body)
            elif isinstance(body, Goodbye):
                _log.info("device %s says goodbye: %s", device_id, body.reason[:200])
        states = [body for body in bodies if isinstance(body, ReportedState)]
        if states:
            self._reported(device_id, states[-1])

    def read_artifact(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
        return self._artifacts.read(device_id, sha256, offset, length)

    def join(self, request: JoinRequest) -> JoinResponse:
        return self._joining.join(self._fleets.fleet, request)

    def renew(self, device_id: str, csr_pem: bytes) -> RenewResponse:
        return self._joining.renew(device_id, csr_pem)

    def worst_clock(self) -> tuple[float | None, str]:
        """(how far off the worst clock was when its device said hello, in s, and whose it is)."""
        skews = {device_id: abs(skew) for device_id, skew in dict(self._clock_skews_s).items()}
        worst = max(skews, key=lambda device_id: skews[device_id], default="")
        return skews.get(worst), worst

    def keep_only(self, device_ids: Set[str]) -> None:
        """Forget all other devices."""
        for remembered in (self._clock_skews_s, self._buckets):
            for device_id in tuple(remembered):
                if device_id not in device_ids:
                    remembered.pop(device_id, None)
        self._clones.keep_only(device_ids)
        self._reports.quarantine.keep_only(device_ids)

    def close(self) -> None:
        """Say goodbye to every device and stop pushing."""
        self._live.close_all("the controller is stopping")
        self._wakes.put(None)
        self._pusher.join(timeout=5)

    def _put_presence(
        self, session: DeviceSession, presence: Presence, reason: str = "", details: Mapping[str, str] | None = None
    ) -> None:
        """With its event."""
        now_ns = self._context.clock.now_ns()

        def write() -> None:
            if presence is Presence.OFFLINE and self._live.get(session.device_id) is not None:
                return  # a newer session has opened meanwhile, and its word may be stored already
            self._store.put_presence(session.device_id, presence, session.link, now_ns)
            self._events.note(f"device.{presence.value}", session.device_id, reason=reason, details=details)

        self._store.together(write)
        self._events.wake()

    def _is_known(self, session: DeviceSession) -> bool:
        """In the fleet; otherwise the session is closed."""
        try:
            standing = self._store.get_standing(session.device_id)
        except NotFoundError:
            session.close("this device is unknown here; join it", is_revoked=True)
            return False
        if standing.is_revoked:
            session.close("this device was removed from the fleet", is_revoked=True)
        return not standing.is_revoked

    def _hello(self, session: DeviceSession, hello: Hello) -> None:
        """Keep the inventory; adopt a desired version above ours (the store was restored from a backup)."""
        device_id = session.device_id
        offset_ns = hello.inventory.clock_ns - self._context.clock.now_ns()
        self._clock_skews_s[device_id] = offset_ns / 1e9
        self._clones.said_hello(session, hello)

        kept_ns = max(-_MAX_OFFSET_NS, min(offset_ns, _MAX_OFFSET_NS))
        inventory = replace(hello.inventory, device_id=device_id)
        self._store.together(lambda: self._store.put_inventory(device_id, inventory, kept_ns))
        if self._on_inventory is not None:
            self._on_inventory(device_id, hello.inventory)
        self._desired.refresh(device_id, (hello.desired_epoch, hello.desired_version))  # wakes us if it changes

    def _take_samples(self, device_id: str, samples: Sequence[Telemetry]) -> None:
        """As many as a device may send; of the others the oldest are left out."""
        taken, self._buckets[device_id] = self._buckets.get(device_id, Bucket()).take(
            len(samples), self._context.clock.monotonic_ns()
        )
        if taken < len(samples):
            reason = f"expected at most {SAMPLES_PER_S} samples a second, found more: {len(samples) - taken} left out"
            self._reports.quarantine.tell("message.rejected", device_id, reason, "Telemetry")
        if taken:
            self._store.add_telemetry(device_id, [self._in_our_time(sample) for sample in samples[-taken:]])

    def _in_our_time(self, sample: Telemetry) -> Telemetry:
        """A sample of an absurd clock counts as taken now: it must neither hide from a query nor outlive retention."""
        now_ns = self._context.clock.now_ns()
        is_plausible = now_ns - _OLDEST_SAMPLE_NS <= sample.at_ns <= now_ns + _CLOCK_TOLERANCE_NS
        return sample if is_plausible else replace(sample, at_ns=now_ns)

    def _reported(self, device_id: str, reported: ReportedState) -> None:
        mine, now_ns = replace(reported, device_id=device_id), self._context.clock.now_ns()
        self._store.together(lambda: self._store.put_reported(device_id, mine, now_ns))
        self._context.feed.publish("reported")
        try:
            if self._on_reported is not None:
                self._on_reported(device_id, reported)
        except MusterError:
            _log.exception("acting on the reported state of device %s failed", device_id)

    def _subscribe(self, device_id: str) -> None:
        if device_id not in self._unsubscribers:
            self._unsubscribers[device_id] = self._context.feed.subscribe(
                f"device/{device_id}", lambda: self._wakes.put(device_id)
            )

    def _push_loop(self) -> None:
        """Send the newest desired state of each woken device; a wake carries no content, so none can be stale."""
        while (woken := self._next_woken()) is not None:
            for device_id in woken:
                try:
                    row = self._store.desired(device_id)
                    if row is not None:
                        self._live.send(
                            device_id, ControllerMessage(Desired(row.envelope, self._context.authority.key_sets()))
                        )
                except Exception:  # noqa: BLE001  a loop's top: the state is still there, and so may the device be
                    _log.exception("sending the desired state of device %s failed; it comes again", device_id)
                    again = threading.Timer(_WAKE_AGAIN_S, self._wake_if_live, [device_id])
                    again.daemon = True
                    again.start()

    def _wake_if_live(self, device_id: str) -> None:
        if self._live.get(device_id) is not None:
            self._wakes.put(device_id)

    def _next_woken(self) -> list[str] | None:
        """Everybody who waits, once each; None at the end."""
        first = self._wakes.get()
        if first is None:
            return None
        woken = {first: None}
        while len(woken) < _WOKEN_AT_ONCE and not self._wakes.empty():
            following = self._wakes.get()
            if following is None:
                self._wakes.put(None)  # the end comes after these
                break
            woken[following] = None
        return list(woken)
