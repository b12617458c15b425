"""What a broker keeps of devices that were removed: nothing, and soon."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.adapters.identity_x509 import StoreAuthenticator, X509Authority, open_authority
from muster_controller.adapters.identity_x509.certificates import key_pem, make_key
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.broker import FleetBroker, MqttOptions
from muster_controller.cli.controller import SystemClock
from muster_controller.core.entities import Device
from muster_controller.service.context import Context
from muster_controller.service.fleet import ensure_fleet
from muster_controller.service.service import Service
from muster_controller.testing_service import StubWorkshop
from muster_protos import codec
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.model import Inventory, LinkPresence
from muster_protos.mqtt.tls import mutual_tls
from muster_protos.mqtt.topics import DeviceTopics
from muster_protos.mqtt.visit import Visit

HOST = "127.0.0.1"


class House:
    """A service behind a broker of its own."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        self.folder = folder
        self.store = open_store(folder / "fleet.sqlite3")
        self.fleet_id = ensure_fleet(self.store, clock, "lab").fleet_id
        self.authority: X509Authority = open_authority(folder / "identity", self.fleet_id)
        artifacts = FolderArtifactStore(folder / "artifacts")
        self.service = Service(
            Context(self.store, artifacts, LocalChangeFeed(), self.authority, clock, StubWorkshop(), folder)
        )
        self.service.start()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        authenticator = StoreAuthenticator(self.store, self.fleet_id, "admin-secret")
        self.broker = FleetBroker(
            MqttOptions("own", 0), folder / "broker", self.service, self.authority, authenticator, HOST, HOST
        )
        self.run(self.broker.start())
        self.port = int(self.broker.url.rpartition(":")[2])

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def enrol(self, device_id: str) -> Credentials:
        pair = make_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muster device")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(pair, SHA256()).public_bytes(Encoding.PEM)
        certificate, serial, key_sha256 = self.authority.issue_device_certificate(csr, device_id)
        self.store.put_device(Device(device_id, device_id, time.time_ns(), serial, key_sha256, Inventory()))
        return Credentials(self.authority.ca_pem(), certificate, key_pem(pair))

    def retained(self) -> set[str]:
        """The devices of which the broker keeps something; ends the controller's link."""
        self.run(self.broker.stop())
        broker = MosquittoBroker(self.folder / "broker", self.authority, self.fleet_id)
        broker.start()
        found = set()
        try:
            with Visit(HOST, broker.port, broker.credentials(), CONTROLLER, 5.0) as visit:
                visit.subscribe("muster/1/#")
                while (message := visit.receive(1.0)) is not None:
                    found.add(message[0].split("/")[3])
        finally:
            broker.stop()
        return found - {"controller"}

    def close(self) -> None:
        self.run(self.broker.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()
        self.service.close()
        self.store.close()


class Clinging:
    """A device that stays connected whatever it is told, with a retained last will like an agent's."""

    def __init__(self, house: House, device_id: str) -> None:
        self.topics = DeviceTopics(house.fleet_id, device_id)
        self.lost = threading.Event()
        ready = threading.Event()
        self.peer = paho.Client(CallbackAPIVersion.VERSION2, client_id=device_id, protocol=paho.MQTTv311)
        self.peer.tls_set_context(mutual_tls(house.enrol(device_id)))
        self.peer.will_set(self.topics.presence, codec.encode(LinkPresence("c-1")), qos=1, retain=True)
        self.peer.on_connect = lambda *_: ready.set()
        self.peer.on_disconnect = lambda *_: self.lost.set()
        self.peer.connect(HOST, house.port)
        self.peer.loop_start()
        assert ready.wait(10)
        online = codec.encode(LinkPresence("c-1", is_online=True))
        for topic in (self.topics.presence, self.topics.reported):
            self.peer.publish(topic, online, qos=1, retain=True).wait_for_publish(10)

    def close(self) -> None:
        self.peer.loop_stop()


@pytest.fixture
def house(tmp_path: Path, mosquitto: str) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_nothing_of_a_removed_device_stays_at_the_broker_not_even_its_last_will(house: House) -> None:
    peers = [Clinging(house, "stays"), Clinging(house, "goes")]
    house.service.devices.remove("goes")
    assert peers[1].lost.wait(20), "expected the session of the removed device to be ended"
    time.sleep(1.0)  # for what is said and cleared after that
    assert house.retained() == {"stays"}
    for peer in peers:
        peer.close()
