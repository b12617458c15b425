"""Malformed MQTT payloads through a real broker: a device's at a live controller, a controller's at a live agent.

MUSTER_FUZZ=<count> is how many, two thirds of them at the controller; MUSTER_FUZZ_SEED=<number> which.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from muster_agent.adapters import link_mqtt as agent_mqtt
from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.clock_system import SystemClock
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.join import make_request
from muster_agent.testing import FakeLoad, FakeMeasurer, FakeSensors, FakeServed
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import StoreAuthenticator
from muster_controller.adapters.link_mqtt import LinkOptions, MqttLink
from muster_controller.core.entities import Device
from muster_controller.testing_service import ServiceLab
from muster_protos import codec
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import CodecError, MusterError, NotAuthorisedError
from muster_protos.model import (
    AgentMessage,
    BenchmarkRecord,
    Block,
    BlockRequest,
    Chunk,
    ControllerMessage,
    Desired,
    DesiredState,
    DownMessage,
    Event,
    Goodbye,
    Greeting,
    Hello,
    Inventory,
    LinkPresence,
    Progress,
    Refusal,
    RenewAnswer,
    RenewCall,
    RenewRequest,
    RenewResponse,
    Report,
    ReportAck,
    ReportedState,
    SessionTerms,
    SignedEnvelope,
    Telemetry,
    UpMessage,
    Welcome,
)
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import DeviceTopics, Down, Up, controller_presence

LONG = int(os.environ.get("MUSTER_FUZZ", "20000"))
SEED = int(os.environ.get("MUSTER_FUZZ_SEED", "1"))
MIB = 1024 * 1024
MORE_MEMORY_KIB = 400 << 10
SESSION = "0123456789abcdef"
SESSIONS = (SESSION, SESSION, SESSION, "", "feedbeef", "9" * 64, "9" * 300, "../#+", "\u202e", "\0")
UP_BODIES = (
    AgentMessage(Hello(Inventory("bad", "0.1", "boot", labels={"a": "b"}), 1, 2, "run")),
    AgentMessage(ReportedState("bad", 1, 2)),
    AgentMessage(Telemetry(5, "m", "v", 1.0, 2, 3, 0.5)),
    AgentMessage(Progress("fetch", "id", 0.5, 1.0, "note")),
    AgentMessage(Report("events", 0, 1, Event("e-1", "child.crashed", 5, "m", details={"a": "b"}))),
    AgentMessage(Report("req", 1, 2, BenchmarkRecord(1, "rec", "req", 1, reasons=("a", "b")))),
    BlockRequest(1, "a" * 64, 0),
    RenewCall(2, RenewRequest(b"-----BEGIN CERTIFICATE REQUEST-----")),
    Greeting("c1", "somebody", "run1"),
)
DOWN_BODIES = (
    Welcome(),
    ControllerMessage(ReportAck("events", 0, 1)),
    ControllerMessage(SessionTerms(5, "https://127.0.0.1:1")),
    ControllerMessage(Goodbye("greet again", retry_after_ms=1)),
    ControllerMessage(Goodbye("greet again", retry_after_ms=-(2**63))),
    Block(1, Chunk(0, b"x" * 100, 100)),
    RenewAnswer(1, RenewResponse(b"certificate")),
    Refusal(1, "temporary", "no", 5),
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


class Genuine:
    """A verifier for whom only what the store holds is genuine."""

    def __init__(self, lab: ServiceLab) -> None:
        self._lab = lab
        self.refused = 0

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        row = self._lab.store.desired("good")
        if row is None or [each.payload for each in envelopes] != [row.envelope.payload]:
            self.refused += 1
            raise NotAuthorisedError("expected the state of this fleet")


class House:
    """A controller behind a real broker, and a good device with a real daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = ServiceLab(folder)
        self.lab.clock.advance((time.time_ns() - self.lab.clock.now_ns()) / 1e9)
        fleet = self.lab.store.fleet()
        assert fleet is not None
        self.fleet_id = fleet.fleet_id
        self.crashes: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.crashes.append(str(context)))
        self._loop_thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._loop_thread.start()
        self.broker = MosquittoBroker(folder / "broker", self.lab.authority, self.fleet_id)
        self.port = self.broker.start()
        self.link: MqttLink | None = None
        self.start_controller()
        own = self.credentials("good")
        self.verifier = Genuine(self.lab)
        self.state = SqliteState(folder / "agent.sqlite3")
        parts = Parts(
            state=self.state,
            cache=FolderCache(folder),
            verifier=self.verifier,
            link=agent_mqtt.MqttLink(
                f"mqtts://127.0.0.1:{self.port}",
                self.fleet_id,
                "good",
                lambda: own,
                agent_mqtt.LinkTiming(2.0, 2.0, 5.0, retry_base_s=0.02, retry_cap_s=0.1),
            ),
            clock=SystemClock(),
            measurer=FakeMeasurer(),
            served=FakeServed(),
            load=FakeLoad(),
            sensors=FakeSensors(),
            inventory=lambda: Inventory("good", clock_ns=time.time_ns()),
        )
        self.daemon = Daemon(parts, Settings("good", self.fleet_id, "boot", resend_after_s=3.0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.daemon.run, args=(self._stop,), daemon=True)
        self._thread.start()
        self._events = 0

    def start_controller(self) -> None:
        own = self.broker.credentials()
        self.link = MqttLink(
            self.lab.service.sessions,
            StoreAuthenticator(self.lab.store, self.fleet_id, "admin"),
            self.fleet_id,
            "127.0.0.1",
            self.port,
            lambda: own,
            LinkOptions(keepalive_s=2, twin_retry_s=0.2),
        )
        self.run(self.link.start())

    def stop_controller(self) -> None:
        if self.link is not None:
            self.run(self.link.stop(0.5))
            self.link = None

    def credentials(self, device_id: str) -> Credentials:
        key = self.folder / f"{device_id}.pem"
        csr, authority = make_request(key), self.lab.authority
        certificate, serial, _ = authority.issue_device_certificate(csr, device_id)
        key_sha256 = authority.public_key_sha256(csr)
        self.lab.store.put_device(Device(device_id, device_id, 1, serial, key_sha256, Inventory(device_id)))
        return Credentials(authority.ca_pem(), certificate, key.read_bytes())

    def still_works(self) -> None:
        """The good device reports, and each report is stored once."""
        names = [f"event-{self._events + number}" for number in range(20)]
        self._events += 20
        self.state.queue_events([Event(name, "child.crashed", 1, reason="test") for name in names])
        deadline_s = time.monotonic() + 60.0
        while self.state.reports(0, 1):
            self.daemon.inbox.wake.set()
            assert time.monotonic() < deadline_s, "the good device's reports are not acknowledged"
            threading.Event().wait(0.02)
        stored = self.lab.store.list_reports(device_id="good", limit=1000).items
        bodies = [codec.decode(Report, each.payload).body for each in stored]
        found = Counter(body.event_id for body in bodies if isinstance(body, Event))
        assert [name for name in names if found[name] != 1] == []

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def close(self) -> None:
        self._stop.set()
        self.daemon.inbox.wake.set()
        self._thread.join(20)
        self.state.close()
        self.stop_controller()
        self.broker.stop()
        self.lab.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join(5)
        self._loop.close()


@pytest.fixture
def house(mosquitto: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


class Peer:
    """Somebody at the broker who says what he likes; he comes back when he is thrown out."""

    def __init__(self, house: House, name: str, credentials: Credentials, topics: Sequence[str], will: str) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.connections = 0
        self._house = house
        self._name = name
        self._credentials = credentials
        self._topics = topics
        self._will = will
        self._line: BrokerConnection | None = None

    def say(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        try:
            line = self._connected()
            line.publish(topic, payload, qos, retain)
            line.turn(0.0)
            while not line.has_room:
                line.turn(0.05)
        except MusterError:
            self.leave()

    def hear(self) -> list[tuple[str, bytes]]:
        """What has come since."""
        try:
            self._connected().turn(0.01)
        except MusterError:
            self.leave()
        got, self.got = self.got, []
        return got

    def settle(self) -> None:
        deadline_s = time.monotonic() + 30.0
        while not self._connected().is_settled and time.monotonic() < deadline_s:
            self._connected().turn(0.05)

    def leave(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close(is_clean=True)

    def _connected(self) -> BrokerConnection:
        if self._line is None:
            self.connections += 1
            self._line = BrokerConnection(
                Endpoint("127.0.0.1", self._house.port, self._name),
                Patience(keepalive_s=10, connect_timeout_s=10.0, window=100),
                Will(self._will, b""),
                lambda topic, payload, _: self.got.append((topic, payload)),
            )
            self._line.open(self._credentials, self._topics)
        return self._line


def up_message(draw: random.Random, controller_id: str, spoilt: Callable[..., bytes]) -> bytes:
    """Whole, or spoilt, or spoilt inside a whole one; of the right session, or of another."""
    body: Any = draw.choice(UP_BODIES)
    if isinstance(body, Greeting):
        body = Greeting(
            draw.choice(("c1", "", "c" * 300)), draw.choice((controller_id, "")), f"run{draw.randint(1, 9)}"
        )
    sequence = draw.choice((0, 1, 2, 3, draw.randint(1, 200), 2**31, 2**63 - 1))
    content = codec.encode(UpMessage(draw.choice(SESSIONS), sequence, body))
    return content if draw.random() < 0.3 else spoilt(draw, [content])


def attack_controller(house: House, draw: random.Random, count: int, spoilt: Callable[..., bytes]) -> Counter[str]:
    topics, others = DeviceTopics(house.fleet_id, "bad"), DeviceTopics(house.fleet_id, "good")
    presence = controller_presence(house.fleet_id)
    own = [topics.presence, topics.reported, *(topics.up(kind) for kind in Up)]
    foreign = [others.presence, others.desired, others.up(Up.REPORT), topics.desired, presence, "$SYS/x", "a/b"]
    peer = Peer(
        house,
        "bad",
        house.credentials("bad"),
        (*topics.subscriptions(), f"muster/1/{house.fleet_id}/#"),
        topics.presence,
    )
    told, controller_id = Counter[str](), ""
    for number in range(count):
        for topic, payload in peer.hear() if number % 50 == 0 else ():
            assert "/good/" not in topic, "a device hears another"
            if topic == presence:
                controller_id = codec.decode(LinkPresence, payload).connection_id
            told["answers to the device"] += 1
            told["sessions of the device"] += topic == topics.down(Down.WELCOME)
        if number % 100 == 50:  # be let in, so that more than the door is looked at
            greeting = UpMessage(SESSION, body=Greeting("c1", controller_id, "run1"))
            peer.say(topics.up(Up.GREETING), codec.encode(greeting))
        topic, size = draw.choice(own), draw.random()
        if draw.random() < 0.05:
            topic = draw.choice(foreign)
        payload = up_message(draw, controller_id, spoilt)
        if size < 0.001:
            payload = draw.randbytes(5 * MIB) if size < 0.0005 else b"\x0a" * MIB
        peer.say(topic, payload, draw.choice((0, 1, 1)), retain=draw.random() < 0.1)
        told["messages of a device"] += 1
    peer.settle()
    peer.leave()
    told["connections of the device"] = peer.connections
    return told


def down_message(draw: random.Random, session_id: str, spoilt: Callable[..., bytes]) -> bytes:
    sequence = draw.choice((0, 1, 2, 3, draw.randint(1, 200), 2**63 - 1))
    taken = draw.choice((0, 0, 1, 50, 2**63 - 1))
    message = DownMessage(draw.choice((session_id,) * 4 + SESSIONS), sequence, taken, draw.choice(DOWN_BODIES))
    content = codec.encode(message)
    return content if draw.random() < 0.3 else spoilt(draw, [content])


def is_revocation(payload: bytes) -> bool:
    """The one word of a controller that an agent obeys for good."""
    try:
        body = codec.decode(DownMessage, payload).body
    except CodecError:
        return False
    return isinstance(body, ControllerMessage) and isinstance(body.body, Goodbye) and body.body.is_revoked


def attack_agent(house: House, draw: random.Random, count: int, spoilt: Callable[..., bytes]) -> Counter[str]:
    topics, presence = DeviceTopics(house.fleet_id, "good"), controller_presence(house.fleet_id)
    greetings = topics.up(Up.GREETING)
    peer = Peer(house, CONTROLLER, house.broker.credentials(), (greetings, topics.up(Up.REPORT)), presence)
    state = codec.encode(DesiredState(fleet_id=house.fleet_id, device_id="good", epoch=1, version=10**6))
    desired = codec.encode(ControllerMessage(Desired(SignedEnvelope("muster.v1.DesiredState", state))))
    told, session_id, lives = Counter[str](), "", 0
    for number in range(count):
        if number % 25 == 0:
            lives += 1
            peer.say(presence, codec.encode(LinkPresence(f"life{lives}", is_online=True)), retain=True)
        deadline_s = time.monotonic() + 2.0
        is_greeted = number % 25 != 0
        while not is_greeted and time.monotonic() < deadline_s:
            for topic, payload in peer.hear():
                if topic == greetings:
                    session_id, is_greeted = codec.decode(UpMessage, payload).session_id, True
                    peer.say(topics.down(Down.WELCOME), codec.encode(DownMessage(session_id, body=Welcome())))
                    told["sessions of the agent"] += 1
        match draw.randrange(12):
            case 0:
                topic, payload = topics.desired, spoilt(draw, [desired])
            case 1 if draw.random() < 0.2:
                topic, payload = presence, spoilt(draw, [codec.encode(LinkPresence("life", is_online=True))])
            case 2 if draw.random() < 0.02:
                topic, payload = topics.down(draw.choice(tuple(Down))), draw.randbytes(3 * MIB)
            case _:
                topic, payload = topics.down(draw.choice(tuple(Down))), down_message(draw, session_id, spoilt)
        if not is_revocation(payload):
            peer.say(topic, payload, draw.choice((0, 1)))
            told["messages of a controller"] += 1
    peer.say(topics.desired, b"", retain=True)
    peer.settle()
    peer.leave()
    return told


def test_no_malformed_payload_ends_or_stops_controller_or_agent(
    house: House, tracebacks: Any, spoilt: Callable[[random.Random, Sequence[bytes]], bytes]
) -> None:
    draw, started_s = random.Random(SEED), time.monotonic()
    house.still_works()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = attack_controller(house, draw, LONG * 2 // 3, spoilt)
    assert house.link is not None
    dropped = house.link.drops.count
    house.still_works()
    house.stop_controller()
    told += attack_agent(house, draw, LONG - LONG * 2 // 3, spoilt)
    house.start_controller()
    house.still_works()
    total = told["messages of a device"] + told["messages of a controller"]
    crashes = house.crashes + tracebacks.found
    print(f"\n{total} malformed payloads in {time.monotonic() - started_s:.0f} s (seed {SEED}), {len(crashes)} crashes")
    told["dropped by the controller"], told["states refused by the agent"] = dropped, house.verifier.refused
    for name, number in sorted(told.items()):
        print(f"  {number:6d}  {name}")
    assert crashes == []
    assert total >= LONG * 0.95
    assert dropped > told["messages of a device"] / 4
    assert told["sessions of the device"] > LONG / 1000, "and so was the controller"
    assert told["sessions of the agent"] > LONG / 1000, "the agent was spoken to within sessions"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < MORE_MEMORY_KIB
