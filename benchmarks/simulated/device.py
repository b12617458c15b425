"""One simulated agent: dials, greets, says hello, comes back with the agent's own back-off."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rig.identities import Identity

from muster_agent.redial import Redial
from muster_protos import codec
from muster_protos.model import AgentMessage, DesiredState, Hello, Inventory, Report, ReportedState
from muster_protos.mqtt.topics import DeviceTopics
from simulated.wire import ANSWER_S, Message, Wire, tls_context
from simulated.wire_grpc import GrpcWire
from simulated.wire_mqtt import MqttWire

_STABLE_S = 10.0  # a session that lasted so long was a success (muster_agent.reconnect)
_AHEAD = 64  # reports on their way


class SimulatedDevice:
    """Held by one task; ``live`` never returns by itself."""

    def __init__(
        self, identity: Identity, link: str, port: int, inventory: Inventory, on_change: Callable[[], None]
    ) -> None:
        """``on_change`` is called whenever it comes online or goes offline."""
        self.device_id = identity.device_id
        self.link = link
        self.is_online = False
        self.online_at_s = 0.0  # monotonic, of the last session's begin
        self.sessions = 0
        self.attempts = 0
        self.acknowledged = 0
        self.rejected = 0
        self.on_acknowledged: Callable[[int], None] = lambda _: None
        self._identity = identity
        self._port = port
        self._inventory = replace(inventory, device_id=identity.device_id, boot_id=secrets.token_hex(8))
        self._on_change = on_change
        self._run_id = secrets.token_hex(8)
        self._redial = Redial(1.0, 60.0, random.random)
        self._context: ssl.SSLContext | None = None
        self._wire: Wire | None = None
        self._held = (0, 0)  # epoch and version of the desired state
        self._reports: dict[int, bytes] = {}  # not acknowledged, by sequence
        self._under_way: set[int] = set()

    def prepare(self) -> None:
        """Make the TLS context beforehand: an agent does it on its own CPU."""
        protocols = ("h2",) if self.link == "grpc" else ()
        self._context = tls_context(self._identity.credentials, protocols)

    async def live(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                began_s = time.monotonic()
                await self._hold_session()
                if time.monotonic() - began_s > _STABLE_S:
                    self._redial.reset()
                retry_after_s = self._wire.retry_after_s if self._wire is not None else 0.0
                await asyncio.sleep(self._redial.next_s(retry_after_s))
        finally:
            if self._wire is not None:
                self._wire.hang_up()

    def hang_up(self) -> None:
        """Lose the connection; it comes back by itself."""
        if self._wire is not None:
            self._wire.hang_up()

    def report(self, report: Report) -> None:
        """Say it until it is acknowledged, over as many sessions as it takes; ``sequence`` must rise."""
        self._reports[report.sequence] = codec.encode(AgentMessage(report))
        self._send_reports()

    def repeat(self, sequence: int) -> bool:
        """Say again what is on its way, as an agent does that has lost an acknowledgement; whether it was said."""
        if self._wire is None or not self.is_online or sequence not in self._under_way:
            return False
        self._wire.say(self._reports[sequence], "report")
        return True

    def say(self, message: AgentMessage, kind: str) -> None:
        """What may get lost."""
        if self._wire is not None and self.is_online:
            self._wire.say(codec.encode(message), kind)

    @property
    def open_reports(self) -> int:
        return len(self._reports)

    # ---- Ear ----

    def opened(self) -> None:
        assert self._wire is not None
        self.is_online = True
        self.sessions += 1
        self.online_at_s = time.monotonic()
        inventory = replace(self._inventory, clock_ns=time.time_ns())
        self._wire.say(codec.encode(AgentMessage(Hello(inventory, *self._held, self._run_id))), "hello")
        self._say_reported()
        self._under_way.clear()
        self._send_reports()
        self._on_change()

    def closed(self) -> None:
        self.is_online = False
        self._on_change()

    def heard(self, message: Message) -> None:
        match message.WhichOneof("body"):
            case "report_ack":
                self._take_ack(message.report_ack)
            case "desired":
                self._take_desired(message.desired.envelope.payload)
            case _:
                pass

    def _take_ack(self, ack: Any) -> None:
        if self._reports.pop(ack.sequence, None) is None:
            return
        self._under_way.discard(ack.sequence)
        self.acknowledged += 1
        self.rejected += bool(ack.rejected_reason)
        self._send_reports()
        self.on_acknowledged(ack.sequence)

    def _take_desired(self, payload: bytes) -> None:
        desired = codec.decode(DesiredState, payload)
        if (desired.epoch, desired.version) > self._held:
            self._held = (desired.epoch, desired.version)
            self._say_reported()

    def _say_reported(self) -> None:
        """It holds what it shall hold: a simulated device fetches and serves nothing."""
        if self._wire is None or not self._held[1]:
            return
        reported = ReportedState(self.device_id, *self._held, self._inventory.boot_id, True, at_ns=time.time_ns())
        self._wire.say(codec.encode(AgentMessage(reported)), "reported_state")

    def _send_reports(self) -> None:
        if self._wire is None or not self.is_online:
            return
        for sequence, payload in self._reports.items():
            if len(self._under_way) >= _AHEAD:
                return
            if sequence not in self._under_way:
                self._under_way.add(sequence)
                self._wire.say(payload, "report")

    async def _hold_session(self) -> None:
        self.attempts += 1
        wire = None
        try:
            async with asyncio.timeout(ANSWER_S):
                wire = await self._dial()
            await wire.ended
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            pass
        finally:
            self.is_online = False
            if wire is not None:
                wire.hang_up()

    async def _dial(self) -> Wire:
        if self._context is None:
            self.prepare()

        def make() -> Wire:
            if self.link == "grpc":
                self._wire = GrpcWire(self, f"127.0.0.1:{self._port}")
            else:
                topics = DeviceTopics(self._identity.fleet_id, self.device_id)
                self._wire = MqttWire(self, topics, self._run_id)
            return self._wire

        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            make, "127.0.0.1", self._port, ssl=self._context, server_hostname="127.0.0.1"
        )
        return wire
