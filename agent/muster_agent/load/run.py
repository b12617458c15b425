"""Send a load and count what comes back.

Open loop: latency counts from the scheduled arrival, so a slow answer delays nobody else's clock (no coordinated
omission). Closed loop (a phase with a concurrency): latency counts from sending; it finds the capacity, not the wait.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from muster_agent.load.arrivals import arrivals_s
from muster_agent.load.exchange import Answer, Exchange
from muster_agent.load.requests import http_request, load_samples, specs_of
from muster_agent.load_process import LoadError, LoadSpec
from muster_protos.model import LoadResult

_CONNECTIONS = 64
_WARM_CONNECTIONS = 8
_ANSWER_TIMEOUT_S = 10.0
_SHED_STATUS = 503
_AFTER_FAILURE_S = 0.02  # a closed loop does not spin on a refused connection


@dataclass(slots=True)
class _Tally:
    slo_ns: int
    offered: int = 0
    failed: int = 0
    shed: int = 0
    late: int = 0
    latencies_ns: array[int] = field(default_factory=lambda: array("q"))
    answered_by: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""

    def answer(self, answer: Answer, latency_ns: int) -> None:
        if answer.status == _SHED_STATUS:
            self.shed += 1
        elif answer.status != 200:
            self.fail(f"status {answer.status}: {answer.body[:200].decode(errors='replace')}")
        else:
            self.latencies_ns.append(latency_ns)
            self.answered_by[answer.variant_id] += 1
            self.late += int(0 < self.slo_ns < latency_ns)

    def fail(self, reason: str) -> None:
        self.failed += 1
        self.first_failure = self.first_failure or reason


class LoadRun:
    """One run of one load; ``stop`` ends it early and keeps what was counted."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._tally = _Tally(spec.slo_ns)
        self._idle: deque[Exchange] = deque()
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._is_stopped = False
        self._reason = ""

    def stop(self, reason: str) -> None:
        """Send nothing more; answers under way are still awaited."""
        self._reason = self._reason or reason
        self._is_stopped = True

    async def run(self) -> LoadResult:
        """Run to the end of the last phase and wait for the last answer.

        Raises:
            LoadError: nobody answers on the port, or it does not serve the model.
            InvalidInputError: the inputs' file lacks an input.
        """
        request = self._spec.request
        bodies = await self._prepare() if request.model_id else []
        started_ns, start_s = time.time_ns(), time.monotonic()
        flights: set[asyncio.Task[None]] = set()
        if bodies:
            flights.update(self._loops(bodies, start_s))
            for index, at_s in enumerate(arrivals_s(request.phases, request.seed)):
                if await self._sleep_until(start_s + at_s):
                    break
                self._tally.offered += 1
                flight = asyncio.ensure_future(self._fly(bodies[index % len(bodies)], start_s + at_s))
                flights.add(flight)
                flight.add_done_callback(flights.discard)
        await self._sleep_until(start_s + sum(phase.duration_ms for phase in request.phases) / 1000)
        await asyncio.gather(*flights)
        for exchange in self._idle:
            exchange.close()
        return self._result(started_ns)

    def _loops(self, bodies: list[bytes], start_s: float) -> list[asyncio.Task[None]]:
        begin_s, loops = start_s, []
        for phase in self._spec.request.phases:
            end_s = begin_s + phase.duration_ms / 1000
            for index in range(phase.concurrency):
                loops.append(asyncio.ensure_future(self._loop(bodies, index, begin_s, end_s)))
            begin_s = end_s
        return loops

    async def _loop(self, bodies: list[bytes], index: int, begin_s: float, end_s: float) -> None:
        """One of those who always have a request under way."""
        is_stopped = await self._sleep_until(begin_s)
        while not (is_stopped or self._is_stopped) and (now_s := time.monotonic()) < end_s:
            failed, index = self._tally.failed + self._tally.shed, index + 1
            self._tally.offered += 1
            await self._fly(bodies[index % len(bodies)], now_s)
            if self._tally.failed + self._tally.shed > failed:
                is_stopped = await self._sleep_until(time.monotonic() + _AFTER_FAILURE_S)

    async def _sleep_until(self, at_s: float) -> bool:
        """True when the run was stopped meanwhile."""
        while not self._is_stopped and (delay_s := at_s - time.monotonic()) > 0:
            await asyncio.sleep(min(delay_s, 0.25))
        return self._is_stopped

    async def _prepare(self) -> list[bytes]:
        spec = self._spec
        try:
            probe = await Exchange.open(spec.host, spec.http_port)
            head = f"GET /v2/models/{spec.request.model_id} HTTP/1.1\r\nHost: {spec.host}\r\n\r\n".encode()
            answer = await probe.ask(head, _ANSWER_TIMEOUT_S)
            self._idle.append(probe)
            while len(self._idle) < _WARM_CONNECTIONS:
                self._idle.append(await Exchange.open(spec.host, spec.http_port))
        except OSError as error:
            raise LoadError(
                f"expected {spec.request.model_id} on {spec.host}:{spec.http_port}, found {error}"
            ) from error
        if answer.status != 200:
            raise LoadError(f"expected metadata of {spec.request.model_id}, found status {answer.status}")
        metadata = json.loads(answer.body)
        outputs = [tensor["name"] for tensor in metadata["outputs"]]
        samples = load_samples(Path(spec.inputs_path), specs_of(metadata["inputs"]))
        return [http_request(spec.request.model_id, spec.host, sample, outputs) for sample in samples]

    async def _fly(self, body: bytes, at_s: float) -> None:
        async with self._free:
            exchange: Exchange | None = None
            try:
                while self._idle and (exchange is None or not exchange.is_open):
                    exchange = self._idle.popleft()
                if exchange is None or not exchange.is_open:
                    exchange = await Exchange.open(self._spec.host, self._spec.http_port)
                answer = await exchange.ask(body, _ANSWER_TIMEOUT_S)
            except (OSError, asyncio.TimeoutError) as error:
                self._tally.fail(str(error) or type(error).__name__)
                return
            self._tally.answer(answer, round((time.monotonic() - at_s) * 1e9))
            self._idle.appendleft(exchange)  # the most recently used first: the others stay warm spares

    def _result(self, started_ns: int) -> LoadResult:
        tally, request = self._tally, self._spec.request
        ordered = sorted(tally.latencies_ns)
        reason = self._reason
        if tally.first_failure:
            reason = f"{reason + '; ' if reason else ''}first failure: {tally.first_failure}"
        return LoadResult(
            request_id=request.request_id,
            attempt=request.attempt,
            model_id=request.model_id,
            started_at_ns=started_ns,
            finished_at_ns=time.time_ns(),
            offered=tally.offered,
            answered=len(ordered),
            failed=tally.failed,
            shed=tally.shed,
            slo_missed=tally.late + tally.failed + tally.shed,
            p50_ns=_percentile(ordered, 50),
            p95_ns=_percentile(ordered, 95),
            p99_ns=_percentile(ordered, 99),
            answered_by=dict(tally.answered_by),
            reason=reason,
        )


def _percentile(ordered: list[int], percent: float) -> int | None:
    """Nearest rank; None when there is nothing."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
