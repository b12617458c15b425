"""The queue and the one inference thread, under the guard.

Invariants: only the inference thread runs or closes a rung; a ladder is replaced between two inferences, by
reference, so no request is lost to a switch; ``_turn`` guards queue, ladder, rungs and guard alike; every request that
was taken is answered, if only with an InferenceError.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from muster_agent.core.guard import Guard, Move, Verdict
from muster_agent.serving.cpu_meter import CpuMeter
from muster_agent.serving.errors import InferenceError, RefusedError
from muster_agent.serving.figures import Figures
from muster_agent.serving.loaded_rung import LoadedRung
from muster_agent.serving.tensors import Array
from muster_protos.errors import MusterError
from muster_protos.model import Event, LocalGrant

log = logging.getLogger(__name__)

MAX_WAITING = 512
MAX_WAITING_BYTES = 64 * 1024 * 1024
_TICK_NS = 1_000_000_000
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an inference gave; ``finished_ns`` is monotonic and ends queueing and inference."""

    outputs: Mapping[str, Array]
    variant_id: str
    finished_ns: int


Done = Callable[["Answer | MusterError"], None]  # called once, from the inference thread


@dataclass(slots=True, eq=False)
class Ladder:
    """A grant in memory: its guard and the rungs that are loaded, by index."""

    grant: LocalGrant
    guard: Guard
    rungs: dict[int, LoadedRung]

    def variant_id(self, index: int) -> str:
        return self.grant.grant.ladder[index].configuration.variant_id


@dataclass(slots=True, eq=False)
class _Query:
    feeds: Mapping[str, Array]
    size_bytes: int
    arrival_ns: int
    done: Done


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """A request and the rung that answers it, looked up under the lock: what frees rungs cannot free this one yet."""

    query: _Query
    ladder: Ladder
    index: int = -1
    rung: LoadedRung | None = None
    refusal: MusterError | None = None  # without a rung


@dataclass(slots=True)
class _Switch:
    """A move whose first inference is still to come."""

    move: Move
    decided_ns: int
    ladder: Ladder = field(repr=False)


class Engine:
    """Answers requests one at a time on the rung that the guard names."""

    def __init__(
        self,
        on_event: Callable[[Event], None],
        on_wanted: Callable[[int], None],
        cpu_meter: CpuMeter | None = None,
    ) -> None:
        """``on_event`` and ``on_wanted`` (a rung should be loaded) are called from the inference thread.

        ``cpu_meter``: in a process that does nothing but serve.
        """
        self.figures = Figures()
        self._cpu_meter = cpu_meter
        self._on_event = on_event
        self._on_wanted = on_wanted
        self._turn = threading.Condition()
        self._queue: deque[_Query] = deque()
        self._queued_bytes = 0
        self._ladder: Ladder | None = None
        self._retired: list[LoadedRung] = []
        self._switch: _Switch | None = None
        self._last_rung: LoadedRung | None = None
        self._next_tick_ns = 0
        self._is_stopping = False
        self._rule_failures = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    # ---- for transports and apps ----

    @property
    def ladder(self) -> Ladder | None:
        """What is served now; None before the first grant."""
        return self._ladder

    def submit(self, feeds: Mapping[str, Array], arrival_ns: int, done: Done) -> None:
        """Queue one request; ``done`` gets an Answer, a RefusedError, or what went wrong.

        Raises:
            RefusedError: the queue is full, or nothing is served yet.
        """
        size_bytes = sum(array.nbytes for array in feeds.values())
        with self._turn:
            ladder = self._ladder
            if ladder is None or self._is_stopping:
                raise RefusedError("nothing is served yet" if ladder is None else "this process is stopping", 1.0)
            ladder.guard.arrived(arrival_ns)
            is_full = len(self._queue) >= MAX_WAITING or self._queued_bytes + size_bytes > MAX_WAITING_BYTES
            if self._queue and is_full:
                self.figures.shed()
                raise RefusedError(f"{len(self._queue)} requests wait already", _RETRY_AFTER_S)
            self._queue.append(_Query(feeds, size_bytes, arrival_ns, done))
            self._queued_bytes += size_bytes
            self._turn.notify()

    def delivered(self, answer: Answer, arrival_ns: int, now_ns: int) -> None:
        """The answer has left the process: count it, and learn what a request costs beside queue and inference."""
        self.figures.answered(now_ns - arrival_ns, now_ns)
        with self._turn:
            if self._ladder is not None:
                self._ladder.guard.spent_beside(now_ns - answer.finished_ns)

    # ---- for the keeper ----

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer what is queued, refuse what comes, free every rung; blocking."""
        with self._turn:
            self._is_stopping = True
            self._turn.notify()
        if self._thread.is_alive():
            self._thread.join()

    def install(self, ladder: Ladder) -> None:
        """Serve this ladder from the next request on; the rungs of the one before are freed by the inference thread."""
        with self._turn:
            old, self._ladder, self._switch = self._ladder, ladder, None
            if old is not None:
                ladder.guard.inherit(old.guard)
                self._retired += [rung for rung in old.rungs.values() if rung not in ladder.rungs.values()]
            self.figures.slo_ns = ladder.grant.grant.slo.latency_ns
            self._turn.notify()

    def load(self, ladder: Ladder, index: int, rung: LoadedRung, make_room: bool = False) -> None:
        """Add a loaded rung to the ladder; to make room, free all others but the fastest and the active one."""
        with self._turn:
            if make_room and ladder.rungs:
                fastest = min(ladder.rungs, key=lambda other: ladder.grant.grant.ladder[other].p50_ns)
                spare = ladder.rungs.keys() - {fastest, ladder.guard.active}
                self._retired += [ladder.rungs.pop(other) for other in sorted(spare)]
            ladder.rungs[index] = rung
            ladder.guard.resident(frozenset(ladder.rungs))
            self._turn.notify()

    def lost(self, ladder: Ladder, index: int) -> None:
        """A rung that cannot be loaded is not asked for again."""
        with self._turn:
            ladder.guard.lost(index)

    def cap(self, highest_rung: int, reason: str) -> None:
        """Obey the slow loop at once, also when nobody asks anything."""
        with self._turn:
            if self._ladder is not None:
                self._ladder.guard.cap(highest_rung, reason)
                self._next_tick_ns = 0
                self._turn.notify()

    def snapshot(self) -> tuple[str, tuple[str, ...], int, float]:
        """Active variant, resident variants, queue length, slowdown."""
        with self._turn:
            ladder = self._ladder
            if ladder is None:
                return "", (), len(self._queue), 1.0
            slowdown, _ = ladder.guard.shared.read(time.monotonic_ns())
            resident = tuple(ladder.variant_id(index) for index in sorted(ladder.rungs))
            return ladder.variant_id(ladder.guard.active), resident, len(self._queue), slowdown

    # ---- the inference thread ----

    def _run(self) -> None:
        while True:
            with self._turn:
                self._wait()
                retired, self._retired = self._retired, []
                if self._is_stopping and not self._queue:
                    break
                chosen = self._next()
            _close(retired)
            if chosen is not None:
                self._serve(chosen)
        _close([*retired, *(self._ladder.rungs.values() if self._ladder is not None else ())])

    def _wait(self) -> None:
        now_ns = time.monotonic_ns()
        while not (self._queue or self._is_stopping or self._retired or now_ns >= self._next_tick_ns):
            self._turn.wait((self._next_tick_ns - now_ns) / 1e9)
            now_ns = time.monotonic_ns()

    def _next(self) -> _Chosen | None:
        """The next query and what to do with it; never raises; holds the lock."""
        now_ns, ladder = time.monotonic_ns(), self._ladder
        if ladder is None:
            self._next_tick_ns = now_ns + _TICK_NS
            return None
        if not self._queue:
            if now_ns >= self._next_tick_ns:
                self._next_tick_ns = now_ns + _TICK_NS
                self._tick(ladder, now_ns)
            return None
        query = self._queue.popleft()
        self._queued_bytes -= query.size_bytes
        try:
            return self._choose(query, ladder, now_ns)
        except Exception as error:  # whatever it is, this request is answered and the next one served
            log.exception("no rung could be chosen")
            return _Chosen(query, ladder, refusal=InferenceError(f"no rung could be chosen: {error}"))

    def _choose(self, query: _Query, ladder: Ladder, now_ns: int) -> _Chosen:
        verdict = self._decide(ladder, query, now_ns)
        if verdict.move is not None:
            self._report_switch(now_ns)  # an earlier one, should its first inference never have come
            self._switch = _Switch(verdict.move, now_ns, ladder)
        self._ask_for_wanted(ladder)
        if verdict.rung is None:
            self.figures.shed()
            if self._cpu_meter is not None:
                self._cpu_meter.refused()
            reason = "it could not have been answered in time; the device is overloaded"
            return _Chosen(query, ladder, refusal=RefusedError(reason, _RETRY_AFTER_S))
        index = verdict.rung if verdict.rung in ladder.rungs else max(ladder.rungs)
        return _Chosen(query, ladder, index, ladder.rungs[index])

    def _decide(self, ladder: Ladder, query: _Query, now_ns: int) -> Verdict:
        try:
            return ladder.guard.decide(now_ns, query.arrival_ns, [other.arrival_ns for other in self._queue])
        except Exception as error:  # fail-safe: whatever is wrong with the rule, requests are answered
            log.exception("the guard failed; the fastest rung serves")
            self._rule_failures += 1
            before = ladder.guard.active
            after = ladder.guard.fail_safe()
            move = Move(before, after, "down", f"the rule failed: {error}") if before != after else None
            return Verdict(after, move)

    def _tick(self, ladder: Ladder, now_ns: int) -> None:
        try:
            move = ladder.guard.tick(now_ns)
            self._ask_for_wanted(ladder)
            if move is not None:
                self._report_switch(now_ns)
                self._emit(ladder, move, (time.monotonic_ns() - now_ns) / 1e6)
        except Exception:  # a rule or a listener that fails must not end the inference thread
            log.exception("the guard failed in its second's tick")

    def _ask_for_wanted(self, ladder: Ladder) -> None:
        if ladder.guard.wanted not in ladder.rungs:
            self._on_wanted(ladder.guard.wanted)

    def _serve(self, chosen: _Chosen) -> None:
        """Answer one request, come what may."""
        try:
            result = self._result(chosen)
        except Exception as error:  # a request without an answer would hang for ever
            log.exception("a request could not be answered")
            result = InferenceError(f"the request could not be answered: {error}")
        if isinstance(result, InferenceError):
            self.figures.failed()
        try:
            chosen.query.done(result)
        except Exception:  # the loop's top: an app's callback must not end the inference thread
            log.exception("an answer could not be delivered")

    def _result(self, chosen: _Chosen) -> Answer | MusterError:
        if chosen.rung is None:
            return chosen.refusal or InferenceError("no rung is loaded")
        result = self._infer(chosen.query, chosen.ladder, chosen.index, chosen.rung)
        if isinstance(result, InferenceError):
            result = self._infer_elsewhere(chosen.query, chosen.ladder, chosen.index, result)
        return result

    def _infer(self, query: _Query, ladder: Ladder, index: int, rung: LoadedRung) -> Answer | MusterError:
        started_ns, started_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        try:
            outputs = rung.run(query.feeds)
        except MusterError as error:
            return error
        except Exception as error:  # whatever a runtime throws, the next request is served
            log.exception("rung %s failed", rung.variant_id)
            return InferenceError(f"{rung.variant_id}: {error}")
        finished_ns = time.monotonic_ns()
        is_first, self._last_rung = rung is not self._last_rung, rung
        with self._turn:
            ladder.guard.served(index, finished_ns - started_ns, finished_ns, is_first)
            if self._cpu_meter is not None:
                threads = ladder.grant.grant.ladder[index].configuration.threads
                self._cpu_meter.inferred(time.thread_time_ns() - started_cpu_ns, threads)
                if (cost := self._cpu_meter.read(finished_ns)) is not None:
                    ladder.guard.spent_cpu(*cost)
            self._report_switch(finished_ns)
        return Answer(outputs, rung.variant_id, finished_ns)

    def _infer_elsewhere(
        self, query: _Query, ladder: Ladder, index: int, error: InferenceError
    ) -> Answer | MusterError:
        """A rung whose runtime fails on a good request is taken out while another can answer."""
        with self._turn:
            others = {other: rung for other, rung in ladder.rungs.items() if other != index}
        if not others:
            return error
        answer = self._infer(query, ladder, max(others), others[max(others)])
        if isinstance(answer, Answer):
            started_ns = time.monotonic_ns()
            with self._turn:
                if index in ladder.rungs:  # the keeper may have freed it meanwhile
                    self._retired.append(ladder.rungs.pop(index))
                ladder.guard.resident(frozenset(ladder.rungs))
                ladder.guard.lost(index)
                move = ladder.guard.tick(started_ns)
                if move is not None:
                    self._emit(ladder, move, (time.monotonic_ns() - started_ns) / 1e6, str(error))
        return answer

    def _report_switch(self, now_ns: int) -> None:
        switch, self._switch = self._switch, None
        if switch is not None:
            self._emit(switch.ladder, switch.move, (now_ns - switch.decided_ns) / 1e6)

    def _emit(self, ladder: Ladder, move: Move, duration_ms: float, because: str = "") -> None:
        self._on_event(
            Event(
                event_id=uuid.uuid4().hex,
                kind="rung.changed",
                at_ns=time.time_ns(),
                model_id=ladder.grant.model_id,
                from_variant_id=ladder.variant_id(move.from_index),
                to_variant_id=ladder.variant_id(move.to_index),
                direction=move.direction,
                reason=because or move.reason,
                duration_ms=duration_ms,
                details={"deployment_id": ladder.grant.grant.deployment_id},
            )
        )


def _close(rungs: Sequence[LoadedRung]) -> None:
    for rung in rungs:
        try:
            rung.close()
        except Exception:  # whatever a runtime throws at its end, the others are served
            log.exception("rung %s could not be freed", rung.variant_id)
