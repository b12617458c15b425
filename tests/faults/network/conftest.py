"""A fleet whose devices are behind faulty proxies: real store, service, links and broker; the agent's real daemon,
state database and cache. Only what serves and measures a model is a fake. Links are less patient than the product's,
unless a test says so.

Every draw follows from one seed, which each test prints: MUSTER_NETWORK_SEED=<number> repeats a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from muster_agent.adapters import link_grpc as agent_grpc
from muster_agent.adapters import link_mqtt as agent_mqtt
from muster_agent.adapters.clock_system import SystemClock
from muster_agent.adapters.verifier_child import VerifierChild
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.join import make_request
from muster_agent.ports import Link
from muster_agent.testing import FakeLoad, FakeMeasurer, FakeSensors, FakeServed
from muster_agent.testing_network import CALM, TcpProxy, Weather
from muster_controller.adapters import link_grpc as controller_grpc
from muster_controller.adapters import link_mqtt as controller_mqtt
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import StoreAuthenticator
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.core.entities import Device as DeviceRow
from muster_controller.service.models import NewModel
from muster_controller.testing_service import ONNXRUNTIME, ServiceLab
from muster_protos import codec
from muster_protos.credentials import Credentials
from muster_protos.limits import BLOCK_BYTES, CHUNK_BYTES, MAX_BLOCKS_OUTSTANDING
from muster_protos.model import (
    DesiredState,
    Event,
    Inventory,
    Report,
    VariantManifest,
)

KIB, MIB = 1024, 1024 * 1024
LINKS = ("grpc", "mqtt")
PATIENT_S = 60.0  # two shared cores: how long a fact may take to come about
# What may have to be sent again after a break: what was on its way, and what is not a whole message.
LOST_PER_BREAK = {"grpc": MIB + CHUNK_BYTES, "mqtt": MAX_BLOCKS_OUTSTANDING * BLOCK_BYTES}
TALK_PER_BREAK = 128 * KIB  # handshakes, greetings, the desired state, acknowledgements

QUICK_GRPC = agent_grpc.LinkTiming(
    keepalive_time_s=2.0,
    keepalive_timeout_s=2.0,
    connect_timeout_s=5.0,
    stall_timeout_s=6.0,
    retry_base_s=0.05,
    retry_cap_s=0.5,
)
QUICK_MQTT = agent_mqtt.LinkTiming(
    keepalive_time_s=2.0,
    keepalive_timeout_s=2.0,
    connect_timeout_s=5.0,
    block_timeout_s=1.0,
    stall_timeout_s=6.0,
    renew_timeout_s=5.0,
    retry_base_s=0.05,
    retry_cap_s=0.5,
)
QUICK = {"grpc": QUICK_GRPC, "mqtt": QUICK_MQTT}
PATIENT = {"grpc": agent_grpc.LinkTiming(), "mqtt": agent_mqtt.LinkTiming()}  # as the product is
CONTROLLER_GRPC = controller_grpc.LinkOptions(keepalive_time_s=2.0, keepalive_timeout_s=2.0, handshake_timeout_s=3.0)
CONTROLLER_MQTT = controller_mqtt.LinkOptions(
    keepalive_s=2, connect_timeout_s=5.0, retry_base_s=0.05, retry_cap_s=0.5, settle_s=0.3, gap_s=2.0
)


def until(is_true: Callable[[], bool], what: str = "", timeout_s: float = PATIENT_S) -> None:
    """Wait for a fact."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what or is_true}"
        threading.Event().wait(0.01)


def load_watched() -> ModuleType:
    spec = importlib.util.spec_from_file_location("watched", Path(__file__).with_name("watched.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


watched = load_watched()


class Device:
    """One agent behind a proxy of its own."""

    def __init__(self, fleet: Fleet, device_id: str, link: Any, proxy: TcpProxy) -> None:
        self.device_id = device_id
        self.link = link
        self.proxy = proxy
        self.queued: list[str] = []  # event ids
        self._number = 0
        folder = fleet.folder / device_id
        folder.mkdir()
        self.state = watched.WatchedState(folder / "agent.sqlite3")
        self.cache = watched.WatchedCache(folder)
        inventory = Inventory(device_id, "0.1", "boot", cores=2, runtimes=(ONNXRUNTIME,))
        clock = SystemClock()
        parts = Parts(
            state=self.state,
            cache=self.cache,
            verifier=VerifierChild(fleet.lab.authority.signing_keys),
            link=link,
            clock=clock,
            measurer=FakeMeasurer(),
            served=FakeServed(),
            load=FakeLoad(),
            sensors=FakeSensors(),
            inventory=lambda: replace(inventory, clock_ns=clock.now_ns()),
            random=random.Random(f"{fleet.seed} {device_id}"),
        )
        settings = Settings(device_id, fleet.fleet_id, "boot")
        self.daemon = Daemon(parts, settings if fleet.is_patient else replace(settings, resend_after_s=3.0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.daemon.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def report(self, count: int) -> None:
        """Have so many more events to report."""
        events = []
        for _ in range(count):
            self._number += 1
            events.append(Event(f"{self.device_id}-{self._number}", "child.crashed", 1, reason="test"))
        self.queued += [event.event_id for event in events]
        self.state.queue_events(events)
        self.daemon.inbox.wake.set()

    def close(self) -> None:
        self._stop.set()
        self.daemon.inbox.wake.set()
        self._thread.join(20)
        self.state.close()


class Fleet:
    """Everything of one fleet over one link; ``uplink`` is the controller's own way to its broker."""

    def __init__(self, kind: str, folder: Path, seed: int, is_patient: bool) -> None:
        self.kind = kind
        self.is_patient = is_patient
        self.timing: Any = (PATIENT if is_patient else QUICK)[kind]
        self._grpc_options = controller_grpc.LinkOptions() if is_patient else CONTROLLER_GRPC
        self._mqtt_options = controller_mqtt.LinkOptions() if is_patient else CONTROLLER_MQTT
        self.until = until
        self.folder = folder
        self.seed = seed
        self.devices: dict[str, Device] = {}
        self.store = open_store(folder / "fleet.sqlite3")
        (folder / "lab").mkdir()
        self.lab = ServiceLab(folder / "lab", self.store)
        self.lab.clock.advance((time.time_ns() - self.lab.clock.now_ns()) / 1e9)  # certificates have dates
        fleet = self.store.fleet()
        assert fleet is not None
        self.fleet_id = fleet.fleet_id
        self.sink = watched.WatchedSink(self.lab.service.sessions)
        self.authenticator = StoreAuthenticator(self.store, self.fleet_id, "admin")
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.proxies: list[TcpProxy] = []
        self.broker: MosquittoBroker | None = None
        self.uplink: TcpProxy | None = None
        if kind == "mqtt":
            self.broker = MosquittoBroker(folder / "broker", self.lab.authority, self.fleet_id)
            self.port = self.broker.start()
            self.uplink = self.make_proxy(self.port)
        self.link: Any = None
        self.start_controller()

    def start_controller(self) -> None:
        """The controller's end of the link, as a fresh process has it."""
        if self.broker is None:
            self.link = controller_grpc.GrpcLink(
                self.sink, self.lab.authority, self.authenticator, port=0, options=self._grpc_options
            )
            self.port = self.run(self.link.start())
            for proxy in self.proxies:
                proxy.target_port = self.port
            return
        own = self.broker.credentials()
        assert self.uplink is not None
        self.link = controller_mqtt.MqttLink(
            self.sink,  # type: ignore[arg-type]
            self.authenticator,
            self.fleet_id,
            "127.0.0.1",
            self.uplink.port,
            lambda: own,
            self._mqtt_options,
        )
        self.run(self.link.start())

    def restart_carrier(self) -> None:
        """What carries the sessions dies: the broker by SIGKILL, or the controller's port without a goodbye."""
        if self.broker is not None:
            self.broker.kill()  # it is started again by its keeper
            return
        for device in self.devices.values():
            device.proxy.reset()
        self.run(self.link.stop(0.0))
        self.start_controller()

    def make_proxy(self, port: int, weather: Weather = CALM) -> TcpProxy:
        self.proxies.append(TcpProxy(port, self.seed + len(self.proxies), weather))
        return self.proxies[-1]

    def credentials(self, device_id: str) -> Credentials:
        """A device of the fleet that has no agent of ours yet."""
        lab, key = self.lab, self.folder / f"{device_id}.pem"
        csr = make_request(key)
        certificate, serial, _ = lab.authority.issue_device_certificate(csr, device_id)
        row = DeviceRow(
            device_id, device_id, 1, serial, lab.authority.public_key_sha256(csr), Inventory(device_id, cores=2)
        )
        self.store.put_device(row)
        return Credentials(lab.authority.ca_pem(), certificate, key.read_bytes())

    def device(
        self,
        device_id: str,
        weather: Weather = CALM,
        chance: random.Random | None = None,
        is_awaited: bool = True,
    ) -> Device:
        """A device whose daemon runs; ``chance``: some of its messages are doubled and late."""
        credentials = self.credentials(device_id)
        proxy = self.make_proxy(self.port, weather)
        link: Link
        if self.kind == "grpc":
            url = f"grpcs://127.0.0.1:{proxy.port}"
            link = agent_grpc.GrpcLink(url, lambda: credentials, self.timing)
        else:
            url = f"mqtts://127.0.0.1:{proxy.port}"
            link = agent_mqtt.MqttLink(url, self.fleet_id, device_id, lambda: credentials, self.timing)
        made = self.devices[device_id] = Device(self, device_id, watched.WatchedLink(link, chance), proxy)
        if is_awaited:
            until(lambda: made.link.is_online, f"{device_id} online; {made.link.failures}")
        return made

    def push(self, device: Device, size: int, name: str = "net") -> int:
        """Have ``device`` fetch a model of ``size`` bytes and its goldens; how many bytes that is."""
        content = random.Random(f"{self.seed} {name}").randbytes(size)
        with self.lab.service.uploads.receive() as upload:
            upload.write(content)
        self.lab.service.models.add(NewModel(name, upload.upload_id))
        self.lab.service.operations.wait_idle()
        model = self.lab.service.models.get(name)
        row = self.lab.service.devices.get(device.device_id)
        variants = self.lab.service.models.kept(model)
        self.lab.service.pushes.push(model, variants, [row])
        refs = [ref for each in variants for ref in (each.manifest.artifact, each.manifest.golden) if ref]
        return sum(ref.size_bytes for ref in refs)

    def wanted(self, device: Device) -> DesiredState:
        """What the store says that the device shall be."""
        row = self.store.desired(device.device_id)
        assert row is not None
        return codec.decode(DesiredState, row.envelope.payload)

    def stored(self, device: Device) -> list[Report]:
        """The reports of the device in the store."""
        found: list[Report] = []
        cursor = ""
        while True:
            page = self.store.list_reports(device_id=device.device_id, cursor=cursor, limit=1000)
            found += [codec.decode(Report, each.payload) for each in page.items if not each.rejected_reason]
            cursor = page.next_cursor
            if not cursor:
                return found

    def settle(self, device: Device, timeout_s: float = PATIENT_S) -> None:
        """Until the device has everything, and the controller has heard everything."""
        until(lambda: device.link.is_online, f"{device.device_id} online again: {device.link.failures[-3:]}", timeout_s)
        until(lambda: self.store.desired(device.device_id) is not None, "there is a desired state", timeout_s)
        until(lambda: not device.state.reports(0, 1), f"{device.device_id}: every report acknowledged", timeout_s)
        until(
            lambda: device.state.versions[-1:] == [self.wanted(device).version],
            f"{device.device_id} has the newest desired state",
            timeout_s,
        )
        refs = self.artifacts(device)
        until(lambda: refs.keys() <= device.cache.cached(), f"{device.device_id} has every artifact", timeout_s)

        def is_known() -> bool:
            reported = self.store.get_device(device.device_id).reported
            return reported is not None and reported.desired_version == self.wanted(device).version

        until(is_known, f"{device.device_id}: the controller knows", timeout_s)

    def artifacts(self, device: Device) -> dict[str, int]:
        """sha256 -> bytes of what the device shall hold."""
        manifests = [
            codec.decode(VariantManifest, envelope.payload)
            for model in self.wanted(device).models
            for envelope in model.manifests
        ]
        refs = [ref for each in manifests for ref in (each.artifact, each.golden, each.evaluation) if ref]
        return {ref.sha256: ref.size_bytes for ref in refs}

    def check(self, *devices: Device) -> None:
        """The promises: reports once, versions never down, artifacts whole, and no transfer that started over."""
        for device in devices or tuple(self.devices.values()):
            stored = self.stored(device)
            keys = [(each.request_id, each.attempt, each.sequence) for each in stored]
            assert len(keys) == len(set(keys))
            names = Counter(each.body.event_id for each in stored if isinstance(each.body, Event))
            assert [name for name in device.queued if names[name] != 1] == [], "each report is stored once"
            assert device.state.versions == sorted(set(device.state.versions)), "versions never go down"
            for sha256, size in self.artifacts(device).items():
                assert hashlib.sha256(device.cache.path(sha256).read_bytes()).hexdigest() == sha256
                assert device.cache.appended[sha256] == size, "no byte is appended twice"
                offsets = [offset for name, offset in device.link.fetches if name == sha256]
                assert offsets == sorted(offsets), "no transfer starts over"

    def check_refetched(self, *devices: Device) -> None:
        """At most what was on its way at each break has come twice."""
        for device in devices:
            breaks, total = device.proxy.connections, sum(device.cache.appended.values())
            assert device.proxy.returned_bytes <= total + breaks * (LOST_PER_BREAK[self.kind] + TALK_PER_BREAK)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        for device in self.devices.values():
            device.close()
        self.run(self.link.stop(0.5))
        if self.broker is not None:
            self.broker.stop()
        for proxy in self.proxies:
            proxy.close()
        self.lab.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        self.store.close()


@pytest.fixture
def seed() -> int:
    """Of everything that a test draws; it is printed, and shown when the test fails."""
    found = int(os.environ.get("MUSTER_NETWORK_SEED", "") or random.SystemRandom().randrange(1 << 32))
    print(f"MUSTER_NETWORK_SEED={found}")
    return found


@pytest.fixture
def is_patient() -> bool:
    """Whether links keep to the product's own times; a file of tests may say so."""
    return False


@pytest.fixture(params=LINKS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path, seed: int, is_patient: bool) -> Iterator[Fleet]:
    """A fleet over one link, with a controller that is up."""
    if request.param == "mqtt":
        request.getfixturevalue("mosquitto")
    made = Fleet(request.param, tmp_path, seed, is_patient)
    yield made
    made.close()
