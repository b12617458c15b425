"""10,000 reports through a real broker and store: 5 % are said twice, order is lost, the broker is killed three times.

The device is rougher than an agent's link: it shuffles and doubles what it says, and only remembers what was
acknowledged. What must hold: every report is acknowledged in the end, and is in the store once (I2).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_agent.join import make_request
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import StoreAuthenticator, open_authority
from muster_controller.adapters.link_mqtt import LinkOptions, MqttLink
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.testing_service import ServiceLab
from muster_protos import codec
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError
from muster_protos.model import (
    AgentMessage,
    ControllerMessage,
    DownMessage,
    Event,
    Goodbye,
    Greeting,
    LinkPresence,
    Report,
    ReportAck,
    UpMessage,
    Welcome,
)
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import DeviceTopics, Up, controller_presence

REPORTS = 10_000
DOUBLED = 0.05
AHEAD = 48  # an agent's link may have 64 on their way
KILLS_AT = (0.25, 0.5, 0.75)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class RoughDevice:
    """Says its reports until all of them are acknowledged."""

    def __init__(self, port: int, topics: DeviceTopics, credentials: Credentials, chance: random.Random) -> None:
        self.open = dict.fromkeys(range(1, REPORTS + 1))  # not acknowledged yet, in order
        self.sessions = 0
        self.said = 0
        self._port = port
        self._topics = topics
        self._credentials = credentials
        self._chance = chance
        self._run_id = secrets.token_hex(8)

    def work(self, until: Callable[[], bool]) -> None:
        """Go on, over as many connections as it takes."""
        while self.open and not until():
            try:
                self._connect(until)
            except MusterError:
                threading.Event().wait(0.1)

    def _connect(self, until: Callable[[], bool]) -> None:
        self._controller = self._session = ""
        self._is_welcome = self._is_over = False
        connection_id = secrets.token_hex(8)
        line = BrokerConnection(
            Endpoint("127.0.0.1", self._port, self._topics.device_id),
            Patience(keepalive_s=2, connect_timeout_s=5.0, window=1000),
            Will(self._topics.presence, codec.encode(LinkPresence(connection_id))),
            lambda topic, payload, _: self._hear(topic, payload),
        )
        try:
            line.open(self._credentials, self._topics.subscriptions())
            self._talk(line, connection_id, until)
        finally:
            line.close(is_clean=True)

    def _talk(self, line: BrokerConnection, connection_id: str, until: Callable[[], bool]) -> None:
        greeted, sequence, under_way = "", 0, []
        while self.open and not until() and not self._is_over:
            line.turn(0.05)
            if self._controller != greeted:  # there is one, or another one
                greeted, self._session, self._is_welcome = self._controller, secrets.token_hex(8), False
                greeting = Greeting(connection_id, greeted, self._run_id)
                line.publish(self._topics.up(Up.GREETING), codec.encode(UpMessage(self._session, body=greeting)), 1)
                sequence, under_way = 0, []
            under_way = [number for number in under_way if number in self.open]
            if self._is_welcome and len(under_way) < AHEAD // 2:
                fresh = self._following(under_way)
                self._say(line, [(sequence + place, number) for place, number in enumerate(fresh, 1)])
                sequence += len(fresh)
                under_way += fresh

    def _following(self, under_way: list[int]) -> list[int]:
        known = set(under_way)
        found = []
        for number in self.open:
            if len(found) + len(under_way) == AHEAD:
                break
            if number not in known:
                found.append(number)
        return found

    def _say(self, line: BrokerConnection, numbered: list[tuple[int, int]]) -> None:
        doubled = [each for each in numbered if self._chance.random() < DOUBLED]
        said = numbered + doubled
        self._chance.shuffle(said)
        for sequence, number in said:
            report = Report("events", 1, number, Event(event_id=f"event-{number}", kind="child.crashed", reason="test"))
            message = UpMessage(self._session, sequence, AgentMessage(report))
            line.publish(self._topics.up(Up.REPORT), codec.encode(message), 1)
            self.said += 1

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic == controller_presence(self._topics.fleet_id):
            presence = codec.decode(LinkPresence, payload)
            self._controller = presence.connection_id if presence.is_online else self._controller
        elif "/down/" in topic:
            down = codec.decode(DownMessage, payload)
            if down.session_id != self._session:
                return
            match down.body:
                case Welcome():
                    self._is_welcome = True
                    self.sessions += 1
                case ControllerMessage(body=ReportAck() as ack):
                    assert not ack.rejected_reason
                    self.open.pop(ack.sequence, None)
                case ControllerMessage(body=Goodbye()):
                    self._is_over = True


class House:
    """A service over a real store, its link and a broker."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(folder / "fleet.sqlite3")
        self.lab = ServiceLab(folder, self.store)
        fleet = self.store.fleet()
        assert fleet is not None
        self.authority = open_authority(folder / "tls", fleet.fleet_id)
        self.topics = DeviceTopics(fleet.fleet_id, "pi-1")
        self.lab.add_device("pi-1")
        self.broker = MosquittoBroker(folder / "broker", self.authority, fleet.fleet_id)
        self.port = self.broker.start()
        own = self.broker.credentials()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.link = MqttLink(
            self.lab.service.sessions,
            StoreAuthenticator(self.store, fleet.fleet_id, "admin"),
            fleet.fleet_id,
            "127.0.0.1",
            self.port,
            lambda: own,
            LinkOptions(keepalive_s=2),
        )
        self._run(self.link.start())
        csr = make_request(folder / "pi-1.pem")
        certificate, _, _ = self.authority.issue_device_certificate(csr, "pi-1")
        self.credentials = Credentials(self.authority.ca_pem(), certificate, (folder / "pi-1.pem").read_bytes())

    def stored(self) -> list[int]:
        """The sequence numbers of the reports in the store."""
        found, cursor = [], ""
        while True:
            page = self.store.list_reports(device_id="pi-1", cursor=cursor, limit=1000)
            found += [stored.sequence for stored in page.items]
            cursor = page.next_cursor
            if not cursor:
                return found

    def close(self) -> None:
        self._run(self.link.stop())
        self.broker.stop()
        self.lab.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.store.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)


@pytest.fixture
def house(mosquitto: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_ten_thousand_reports_are_stored_exactly_once_whatever_the_broker_does(house: House) -> None:
    device = RoughDevice(house.port, house.topics, house.credentials, random.Random(20))
    deadline_s = time.monotonic() + 500.0
    for share in KILLS_AT:
        left = round(REPORTS * (1 - share))
        device.work(lambda: len(device.open) <= left or time.monotonic() > deadline_s)  # noqa: B023
        assert len(device.open) <= left, "not acknowledged in time"
        house.broker.kill()
    device.work(lambda: time.monotonic() > deadline_s)
    assert not device.open
    assert device.sessions > len(KILLS_AT)
    assert device.said > REPORTS * (1 + DOUBLED / 2)
    stored = house.stored()
    assert len(stored) == len(set(stored)) == REPORTS
    assert sorted(stored) == list(range(1, REPORTS + 1))
