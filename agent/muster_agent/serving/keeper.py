"""Keeps an engine supplied: takes grants from the agent, loads rungs beside the running ones, reports.

Works the same inside the serving child and inside an app. One thread does everything that takes long, in order; of
several grants that wait only the newest is loaded.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from muster_agent.local_socket import LocalBody
from muster_agent.serving.agent_link import AgentLink
from muster_agent.serving.cpu_meter import CpuMeter
from muster_agent.serving.engine import Engine, Ladder
from muster_agent.serving.errors import GrantError
from muster_agent.serving.resident import build_ladder, discard, has_room, load
from muster_devices.failpoint import hit
from muster_protos.model import Event, LocalCap, LocalFailed, LocalGrant, LocalHello, LocalReady, LocalStop

log = logging.getLogger(__name__)

_STATUS_S = 1.0
_ADOPTION_S = 60.0  # an agent that came back and grants nothing for so long does not want this child


class Ports(Protocol):
    """Where apps reach the engine; an app that serves itself has none."""

    def open(self, ladder: Ladder) -> tuple[int, int]:
        """Make the ladder's model reachable; (HTTP port, gRPC port), 0 = not offered.

        Raises:
            GrantError: a port is taken.
        """
        ...


class NoPorts:
    """For an app that calls the engine itself."""

    def open(self, ladder: Ladder) -> tuple[int, int]:
        del ladder
        return 0, 0


@dataclass(frozen=True, slots=True)
class _Load:
    """The guard would climb to a rung that is not resident."""

    index: int


class Keeper:
    """See the module's docstring. ``on_end`` is called once, with the reason why this process should stop serving."""

    def __init__(
        self,
        socket_path: Path,
        model_id: str,
        ports: Ports,
        on_end: Callable[[str], None],
        is_child: bool,
        slowdown_ratio: float = 1.0,
        memory_limit_bytes: int | None = None,
    ) -> None:
        self.engine = Engine(self._event, self._wanted, CpuMeter() if is_child else None)
        self.ready = threading.Event()  # set while a ladder is served
        self.failure = ""  # why the last grant was refused
        self.end_reason = ""  # why there is nothing to serve any more, until the next grant
        self._model_id = model_id
        self._ports = ports
        self._on_end = on_end
        self._is_child = is_child
        self._slowdown_ratio = slowdown_ratio
        self._memory_limit_bytes = memory_limit_bytes
        self._orders: queue.SimpleQueue[LocalGrant | _Load | None] = queue.SimpleQueue()
        self._wanted_index: int | None = None
        self._cap: LocalCap | None = None
        self._announced: LocalReady | None = None
        self._ungranted_since_s: float | None = None
        hello = LocalHello(model_id, os.getpid(), is_child)
        self._link = AgentLink(socket_path, hello, self._body, self._connected, self._lost)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self.engine.start()
        self._thread.start()
        self._link.start()

    def close(self) -> None:
        """Answer what is queued, then free everything; blocking."""
        self._orders.put(None)
        self._thread.join(timeout=30)
        self.engine.stop()
        self._link.close()

    # ---- from the link's thread ----

    def _body(self, body: LocalBody) -> None:
        if isinstance(body, LocalGrant):
            self._ungranted_since_s = None
            self._orders.put(body)
        elif isinstance(body, LocalCap):
            self._cap = body
            self.engine.cap(body.highest_rung, body.reason)
        elif isinstance(body, LocalStop):
            self.end_reason = body.reason
            self._on_end(body.reason)

    def _connected(self) -> None:
        self._ungranted_since_s = time.monotonic()
        if self._announced is not None:
            self._link.send(self._announced)

    def _lost(self, reason: str) -> None:
        if self._is_child or self.engine.ladder is None:
            self.end_reason = reason
            self._on_end(reason)
        else:
            log.warning("%s; serving on with the last grant", reason)

    # ---- from the inference thread ----

    def _event(self, event: Event) -> None:
        log.info("%s %s -> %s: %s", event.direction, event.from_variant_id, event.to_variant_id, event.reason)
        self._link.send(event)

    def _wanted(self, index: int) -> None:
        if self._wanted_index != index:
            self._wanted_index = index
            self._orders.put(_Load(index))

    # ---- the keeper's thread ----

    def _run(self) -> None:
        next_status_s = time.monotonic() + _STATUS_S
        while True:
            try:
                order = self._orders.get(timeout=max(0.0, next_status_s - time.monotonic()))
            except queue.Empty:
                next_status_s = time.monotonic() + _STATUS_S
                self._report()
                continue
            if order is None:
                return
            if isinstance(order, _Load):
                self._load(order.index)
            elif self._orders.empty():
                self._take(order)
            else:
                self._take_newest(order)

    def _take_newest(self, grant: LocalGrant) -> None:
        """Skip grants that newer ones have overtaken; keep the other orders in their order."""
        orders = [self._orders.get() for _ in range(self._orders.qsize())]
        grants = [order for order in orders if isinstance(order, LocalGrant)]
        self._take(grants[-1] if grants else grant)
        for order in orders:
            if not isinstance(order, LocalGrant):
                self._orders.put(order)

    def _take(self, grant: LocalGrant) -> None:
        known = self.engine.ladder
        if known is not None and known.grant == grant and self._announced is not None:
            self.end_reason = ""
            self._link.send(self._announced)
            return
        if known is not None and _is_same_service(known.grant, grant):
            self._take_over(known, grant)
            return
        started_s = time.monotonic()
        hit("child: grant taken")
        ladder: Ladder | None = None
        try:
            ladder = build_ladder(grant, self._slowdown_ratio, self._memory_limit_bytes, known)
            hit("child: loaded")
            http_port, grpc_port = self._ports.open(ladder)
        except GrantError as error:
            if ladder is not None:
                discard(ladder, known)
            self._refuse(grant, error)
            return
        except Exception as error:  # whatever a runtime throws at a file, the previous grant is served on
            log.exception("the grant %s cannot be loaded", grant.grant.deployment_id)
            if ladder is not None:
                discard(ladder, known)
            self._refuse(grant, GrantError(f"load: {type(error).__name__}: {error}"))
            return
        if self._cap is not None:
            ladder.guard.cap(self._cap.highest_rung, self._cap.reason)
        self.engine.install(ladder)
        hit("child: switched")
        self._wanted_index = None
        active, resident, _, _ = self.engine.snapshot()
        self._announce(LocalReady(grant.grant.deployment_id, active, resident, http_port, grpc_port))
        if known is not None:
            self._link.send(self._replaced(known, ladder, started_s))

    def _take_over(self, known: Ladder, grant: LocalGrant) -> None:
        """Committed, or deployed again with nothing changed: rungs, guard and its beliefs stay as they are."""
        known.grant = grant
        try:
            http_port, grpc_port = self._ports.open(known)
        except GrantError as error:
            self._refuse(grant, error)
            return
        active, resident, _, _ = self.engine.snapshot()
        self._announce(LocalReady(grant.grant.deployment_id, active, resident, http_port, grpc_port))

    def _announce(self, ready: LocalReady) -> None:
        self._announced = ready
        self.failure = self.end_reason = ""
        self.ready.set()
        self._link.send(ready)

    def _refuse(self, grant: LocalGrant, error: GrantError) -> None:
        self.failure = str(error)
        log.error("the grant %s is refused: %s", grant.grant.deployment_id, error)
        self._link.send(LocalFailed(grant.grant.deployment_id, error.variant_id, str(error)))

    def _replaced(self, old: Ladder, new: Ladder, started_s: float) -> Event:
        return Event(
            event_id=uuid.uuid4().hex,
            kind="ladder.replaced",
            at_ns=time.time_ns(),
            model_id=self._model_id,
            from_variant_id=old.variant_id(old.guard.active),
            to_variant_id=new.variant_id(new.guard.active),
            reason=f"deployment {new.grant.grant.deployment_id} replaces {old.grant.grant.deployment_id}",
            duration_ms=(time.monotonic() - started_s) * 1e3,
            details={"deployment_id": new.grant.grant.deployment_id},
        )

    def _load(self, index: int) -> None:
        ladder = self.engine.ladder
        if ladder is None or index in ladder.rungs or index >= len(ladder.grant.grant.ladder):
            return
        try:
            rung = load(ladder.grant, index, self._slowdown_ratio)
        except GrantError as error:
            log.error("rung %d cannot be loaded: %s", index, error)
            self.engine.lost(ladder, index)
            return
        except Exception:  # whatever a runtime throws at a file, the other rungs are served on
            log.exception("rung %d cannot be loaded", index)
            self.engine.lost(ladder, index)
            return
        self.engine.load(ladder, index, rung, make_room=not has_room(self._memory_limit_bytes))
        self._wanted_index = None

    def _report(self) -> None:
        since_s = self._ungranted_since_s
        if self._is_child and since_s is not None and time.monotonic() - since_s > _ADOPTION_S:
            self._on_end(f"the agent has granted nothing for {_ADOPTION_S:.0f} s")
        active, resident, waiting, slowdown = self.engine.snapshot()
        if not active:
            return
        status = self.engine.figures.status(time.monotonic_ns(), active, resident, waiting, slowdown)
        self._link.send(status)


def _is_same_service(old: LocalGrant, new: LocalGrant) -> bool:
    """Whether everything that the engine serves by is the same; deployment, deadline and ports may differ."""
    return _service(old) == _service(new)


def _service(grant: LocalGrant) -> LocalGrant:
    serving = replace(grant.grant, deployment_id="", deadline_ns=0, is_committed=False, http_port=0, grpc_port=0)
    return replace(grant, grant=serving)
