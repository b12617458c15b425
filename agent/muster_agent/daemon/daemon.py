"""The loop: messages only wake it; it always reads whole state, plans, and has one step done."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from muster_agent.core.known import Facts, Known
from muster_agent.core.link_state import Standing
from muster_agent.core.plan import plan
from muster_agent.core.reported import reported_state
from muster_agent.core.steps import Fetch, RunBenchmark, Step, may_yield, step_key
from muster_agent.daemon import loads, measure
from muster_agent.daemon.acts import Acts
from muster_agent.daemon.adoption import Adoption
from muster_agent.daemon.desired import DesiredChecked
from muster_agent.daemon.inbox import Inbox
from muster_agent.daemon.link_watch import LinkWatch
from muster_agent.daemon.messages import (
    EventsLost,
    InventoryChanged,
    Message,
    Offline,
    Online,
    RemovalClaimed,
    ServingChanged,
    ServingEnded,
    ServingEvent,
    Unreached,
)
from muster_agent.daemon.moment import Moment
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.daemon.renewal import Renewal, RenewalEnded
from muster_agent.daemon.runner import Runner, StepEnded, ThreadRunner
from muster_agent.daemon.serve import ServingSteps
from muster_agent.daemon.serving_watch import ServingWatch
from muster_agent.daemon.slow_loop import SlowLoop
from muster_agent.daemon.stored import StoredChecked
from muster_agent.daemon.troubles import Troubles
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, MusterError, NotAuthorisedError, TemporaryError
from muster_protos.model import (
    ControllerMessage,
    Desired,
    Event,
    Goodbye,
    ReportAck,
    ReportedState,
    SessionTerms,
)

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 5.0
_BLOCKED_WAIT_S = 0.2
_STOP_TIMEOUT_S = 10.0
_ROUNDS = 3  # what a message brings about at once may be a message, too
_RECOVERED = "recovered"  # a key of the back-off


class Daemon:
    """One agent.

    Invariants: only the loop's thread plans and adopts desired states; steps run one at a time; what must survive a
    kill is in the state store before the world is touched.
    """

    def __init__(self, parts: Parts, settings: Settings, runner: Runner | None = None) -> None:
        self.inbox = Inbox(lambda: parts.link.is_proven)
        self._parts = parts
        self._settings = settings
        self._runner = runner or ThreadRunner()
        self._moment = Moment(parts.random)
        self._outbox = Outbox(parts, settings)
        self._adoption = Adoption(parts, settings, self._moment, self._outbox, self._runner.beside, self.inbox.post)
        self._serving = ServingSteps(parts, settings, self._moment, self._outbox)
        self._loads = loads.Loads(parts, self.inbox.post)
        self._acts = Acts(parts, settings, self._moment, self._outbox, self._adoption, self._serving, self._loads)
        self._slow = SlowLoop(parts, settings, self._moment, self._outbox)
        self._renewal = Renewal(parts, self._outbox, self.inbox.post)
        self._link_watch = LinkWatch(parts)
        self._serving_watch = ServingWatch(parts, self._moment)
        self._troubles = Troubles(parts, self._outbox)
        self._unstored: list[loads.LoadEnded] = []  # results that wait for a disk that takes them
        self._is_recovered = False
        self._is_removed = False

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set, then leave cleanly. Set ``inbox.wake`` after ``stop`` to be heard at once."""
        self.start()
        try:
            while not stop.is_set():
                try:
                    wait_s = self.turn()
                except MusterError as error:
                    log.error("the loop failed and goes on: %s", error)
                    wait_s = 1.0
                except Exception:
                    log.exception("the loop failed and goes on")
                    wait_s = 1.0
                if not stop.is_set():
                    self._parts.clock.wait(self.inbox.wake, wait_s)
        finally:
            self.close()

    def start(self) -> None:
        """Take up what an earlier life left, then open the doors."""
        self._link_watch.begin()
        self._recover()
        expected = tuple(self._parts.state.serving())
        self._parts.served.start(self.inbox, expected)  # first: serving processes of an earlier life wait for it
        self._adoption.turn(None)
        self._parts.link.start(self.inbox)

    def close(self) -> None:
        """Stop the step, the loads, the serving processes and the link, which says goodbye."""
        self._runner.stop()
        self._loads.keep_only(None)
        self._parts.served.close("the agent stops")
        self._parts.link.close()
        if not self._runner.join(_STOP_TIMEOUT_S):
            log.warning("step %s did not end in time", self._runner.running)

    def turn(self) -> float:
        """Read what arrived, begin the next step if there is one, send what is due.

        Returns:
            How long nothing will happen by itself, in seconds.
        """
        events: list[Event] = []
        for _ in range(_ROUNDS):
            for message in self.inbox.drain():
                self._take_safely(message, events)
            self._adoption.turn(self._runner.running)
            if not self.inbox.wake.is_set():
                break
        self._outbox.pass_on(events)
        self._outbox.store_waiting()
        self._slow_turn()
        self._serving_watch.turn()
        if not self._is_recovered and _RECOVERED not in self._facts().held:
            self._recover()
        if self._adoption.is_stored_verified:
            self._advance(plan(self._adoption.wanted, self._known(), self._facts()))
        if self._moment.is_online:
            self._outbox.pump(self.reported())
        if not self._is_removed:
            running = self._runner.running
            self._renewal.turn(
                is_online=self._moment.is_online,
                is_busy=isinstance(running, RunBenchmark),
                is_fetching=isinstance(running, Fetch),
            )
        return self._wait_s()

    def reported(self) -> ReportedState:
        """The reported state of this moment."""
        settings = self._settings
        return reported_state(
            settings.device_id,
            settings.boot_id,
            self._adoption.wanted,
            self._known(),
            self._facts(),
            self._adoption.refused or self._troubles.reason,
        )

    # ---- messages ----

    def _take_safely(self, message: Message, events: list[Event]) -> None:
        """One message that fails must not take those behind it along: the end of a step may be among them."""
        try:
            self._take(message, events)
        except TemporaryError as error:
            log.warning("%s could not be dealt with: %s", type(message).__name__, error)
            if isinstance(message, loads.LoadEnded):
                self._unstored.append(message)
        except Exception:
            log.exception("%s could not be dealt with", type(message).__name__)

    def _slow_turn(self) -> None:
        self._troubles.turn()
        if not self._parts.state.problem:
            waiting, self._unstored = self._unstored, []
            for message in waiting:
                self._take_safely(message, [])
        try:
            self._slow.turn()
        except TemporaryError as error:
            log.warning("the slow loop could not store what it found: %s", error)

    def _recover(self) -> None:
        """Runs that an earlier life left; again later when the disk takes nothing."""
        try:
            measure.recover_benchmarks(self._parts, self._outbox)
            self._loads.recover(self._outbox)
        except TemporaryError as error:
            self._moment.failed(_RECOVERED, error, self._parts.clock.monotonic_ns())
            log.warning("runs of an earlier life could not be recovered: %s", error)
            return
        self._moment.succeeded(_RECOVERED)
        self._is_recovered = True

    def _take(self, message: Message, events: list[Event]) -> None:
        match message:
            case Online():
                log.info("online by %s", self._parts.link.name)
                self._moment.set_online(True)
                self._link_watch.see(Standing.ONLINE)
                self._moment.release()
                self._renewal.session_began()
                self._outbox.session_began(*self._adoption.version)
            case Offline(reason):
                if self._moment.is_online:
                    log.warning("offline: %s", reason)
                self._moment.set_online(False)
                self._link_watch.see(Standing.OFFLINE, reason)
            case Unreached(reason):
                if not self._moment.is_online:
                    self._link_watch.see(Standing.OFFLINE, reason)
            case InventoryChanged():
                if self._moment.is_online:
                    self._outbox.hello(*self._adoption.version)
            case ControllerMessage(body):
                self._take_from_controller(body)
            case ServingEnded(model_id, reason):
                self._serving_ended(model_id, reason)
            case ServingChanged(model_id, ready):
                self._moment.set_active(model_id, ready.active_variant_id, ready.resident_variant_ids)
            case ServingEvent(model_id, event):
                events.append(event)
                if event.to_variant_id:
                    self._moment.set_active_variant(model_id, event.to_variant_id)
            case EventsLost(count):
                self._outbox.lost(count)
            case RemovalClaimed(reason):
                log.warning(
                    "this device is said to have been removed from the fleet, which is to be confirmed: %s", reason
                )
                self._renewal.confirm_removal()
                self._link_watch.see(Standing.REFUSED, f"{reason} (said over a broker, which cannot prove it)")
            case DesiredChecked():
                self._desired_checked(message)
            case StoredChecked():
                self._stored_checked(message)
            case StepEnded():
                self._step_ended(message)
            case loads.LoadEnded():
                self._loads.ended(message)
            case RenewalEnded():
                if self._renewal.ended(message):
                    self._removed(str(message.error))
                elif isinstance(message.error, NotAuthorisedError) and not self._moment.is_online:
                    self._link_watch.see(Standing.REFUSED, str(message.error))

    def _take_from_controller(self, body: Desired | ReportAck | Goodbye | SessionTerms | None) -> None:
        match body:
            case Desired():
                self._adoption.offer(body)
            case SessionTerms(clock_ns, door_url):
                self._parts.clock.learn(clock_ns)
                self._renewal.learn_door(door_url)
            case ReportAck():
                self._outbox.acknowledged(body)
            case Goodbye(reason=reason, is_revoked=is_revoked):
                log.warning("the controller says goodbye: %s", reason or "no reason given")
                if is_revoked:
                    self._removed(reason)
            case None:
                log.info("a message of a newer controller was ignored")

    def _removed(self, reason: str) -> None:
        """Nobody wants this device back under this identity: stop asking. What it serves, it serves on."""
        if not self._is_removed:
            log.error("this device was removed from the fleet (%s); serving goes on, join again to be managed", reason)
        self._is_removed = True
        self._link_watch.see(Standing.REMOVED, reason)
        self._parts.link.close()

    def _desired_checked(self, checked: DesiredChecked) -> None:
        if self._adoption.checked(checked):
            self._moment.release()
            self._loads.keep_only(self._adoption.wanted)

    def _stored_checked(self, checked: StoredChecked) -> None:
        self._adoption.stored_checked(checked)
        if self._adoption.is_stored_verified and self._moment.is_online and self._adoption.wanted is None:
            self._outbox.hello(0, 0)  # the controller was told of a state that is none

    def _serving_ended(self, model_id: str, reason: str) -> None:
        live = self._moment.set_down(model_id)
        if live is not None:
            self._serving.went_down(live.grant.deployment_id, live.active_variant_id)
        self._outbox.event(
            "child.crashed",
            model_id=model_id,
            from_variant_id=live.active_variant_id if live else "",
            reason=reason,
        )
        if live is not None:
            key = f"serve {model_id} {live.grant.deployment_id}"
            self._moment.failed(key, TemporaryError(reason), self._parts.clock.monotonic_ns())

    # ---- steps ----

    def _advance(self, steps: tuple[Step, ...]) -> None:
        running = self._runner.running
        if running is not None:
            if may_yield(running, steps):
                self._runner.stop()
            return
        if steps:
            log.debug("step %s", steps[0])
            self._runner.start(steps[0], self._acts, self.inbox.post)

    def _step_ended(self, ended: StepEnded) -> None:
        self._runner.taken()
        hit("step: ended")
        key = step_key(ended.step)
        if ended.error is None:
            if not ended.is_stopped:
                self._moment.succeeded(key)
            return
        error = ended.error
        if isinstance(error, ConflictError):  # the world moved on while the step was on its way; the next plan knows
            error = TemporaryError(str(error))
        failure = self._moment.failed(key, error, self._parts.clock.monotonic_ns())
        log.warning("step %s failed (%d in a row): %s", type(ended.step).__name__, failure.count, ended.error)

    # ---- state ----

    def _known(self) -> Known:
        parts = self._parts
        return Known(
            cached=parts.cache.cached(),
            partial_bytes=parts.cache.partial_bytes(),
            bad=parts.state.bad(),
            serving=parts.state.serving(),
            benchmarks=parts.state.runs(measure.KIND),
            loads=parts.state.runs(loads.KIND),
        )

    def _facts(self) -> Facts:
        facts = self._moment.facts(self._parts.clock.now_ns(), self._parts.clock.monotonic_ns())
        return replace(facts, is_writable=not self._parts.state.problem)

    def _wait_s(self) -> float:
        now_ns = self._parts.clock.monotonic_ns()
        if self._outbox.is_blocked and self._moment.is_online:
            return _BLOCKED_WAIT_S
        due_ns = self._moment.next_due_ns(now_ns)
        waits = [_LONGEST_WAIT_S, (self._slow.next_ns - now_ns) / 1e9]
        if due_ns is not None:
            waits.append((due_ns - now_ns) / 1e9)
        return max(0.0, min(waits))
