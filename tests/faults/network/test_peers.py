"""Whoever else is on the network: a captive portal, slow-loris peers, and the whole fleet at once. Over both links."""

from __future__ import annotations

import contextlib
import datetime
import random
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from muster_agent.redial import Redial

MIB = 1024 * 1024
PAGE = b"<html><body>Welcome to the hotel. Please sign in.</body></html>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE)
LORISES = 150
CUT_WITHIN_S = {"grpc": 15.0, "mqtt": 120.0}


class Portal:
    """Answers everything that anybody says with a page; with ``tls``, behind a certificate of its own."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.guests = 0
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                guest, _ = self._listening.accept()
            except OSError:
                return
            self.guests += 1
            guest.settimeout(2.0)
            with guest, contextlib.suppress(OSError):
                stream = guest if self._tls is None else self._tls.wrap_socket(guest, server_side=True)
                with stream:
                    stream.recv(65536)
                    stream.sendall(ANSWER)


@pytest.fixture(params=["plain", "tls"])
def portal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Portal]:
    made = Portal(foreign_tls(tmp_path) if request.param == "tls" else None)
    yield made
    made.close()


def foreign_tls(folder: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 of nobody whom a device knows."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hotel.example")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    content = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    content += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "portal.pem").write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "portal.pem")
    return context


@pytest.mark.faults
def test_a_captive_portal_is_no_controller_and_its_page_no_artifact(fleet: Any, portal: Portal) -> None:
    device = fleet.device("pi-1")
    fleet.push(device, 16 * MIB)
    fleet.until(lambda: sum(device.cache.appended.values()) > 0)
    device.proxy.target_port = portal.port
    device.proxy.reset()
    device.report(20)
    fleet.until(lambda: portal.guests >= 5)
    assert device.link.onlines == 1
    assert device.link.failures
    device.proxy.target_port = fleet.port
    fleet.settle(device)
    fleet.check()
    assert not any(PAGE in path.read_bytes() for path in (fleet.folder / "pi-1").rglob("*") if path.is_file())


class Lorises:
    """So many connections, each of which says one byte of a handshake from time to time."""

    def __init__(self, port: int, first: bytes) -> None:
        self.cut = 0
        self._first = first
        self._stop = threading.Event()
        self._streams = [socket.create_connection(("127.0.0.1", port)) for _ in range(LORISES)]
        for stream in self._streams:
            stream.setblocking(False)
        self._thread = threading.Thread(target=self._drip, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        for stream in self._streams:
            stream.close()

    def _drip(self) -> None:
        position, living = 0, set(self._streams)
        while living and not self._stop.is_set():
            byte = self._first[position : position + 1] or b"\0"
            position += 1
            for stream in tuple(living):
                try:
                    stream.send(byte)
                    readable, _, _ = select.select([stream], [], [], 0)
                    if readable and not stream.recv(4096):
                        raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    living.discard(stream)
                    self.cut += 1
            self._stop.wait(0.1)


@pytest.fixture
def lorises(fleet: Any) -> Iterator[Callable[[], Lorises]]:
    made: list[Lorises] = []

    def make() -> Lorises:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the first bytes of a TLS handshake
        made.append(Lorises(fleet.port, hello))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.faults
def test_slow_loris_peers_hold_up_nobody(fleet: Any, lorises: Callable[[], Lorises]) -> None:
    """The controller's own port cuts them when a handshake has had its time, mosquitto within two minutes."""
    before = fleet.device("pi-1")
    herd = lorises()
    dialled_s = time.monotonic()
    after = fleet.device("pi-2")
    assert time.monotonic() - dialled_s < 10.0
    for device in (before, after):
        device.report(20)
        fleet.push(device, MIB, device.device_id)
        fleet.settle(device, 20.0)
    fleet.check()
    assert before.link.onlines == after.link.onlines == 1
    fleet.until(lambda: herd.cut == LORISES, f"all are cut, {herd.cut} were", CUT_WITHIN_S[fleet.kind])
    print(f"{herd.cut} of {LORISES} were cut after {time.monotonic() - dialled_s:.0f} s")


@pytest.mark.faults
def test_a_whole_fleet_that_is_cut_at_once_comes_back(fleet: Any) -> None:
    devices = [fleet.device(f"pi-{number}", is_awaited=False) for number in range(24)]
    fleet.until(lambda: all(device.link.is_online for device in devices))
    for _ in range(3):
        known = [device.link.onlines for device in devices]
        for device in devices:
            device.report(5)
        for proxy in fleet.proxies:
            proxy.reset()
        fleet.until(
            lambda: all(d.link.is_online and d.link.onlines > n for d, n in zip(devices, known, strict=True))  # noqa: B023
        )
    for device in devices:
        fleet.settle(device)
    fleet.check()


@pytest.mark.parametrize("capacity", [300, 2000])
def test_ten_thousand_agents_with_full_jitter_come_back_in_waves_that_a_controller_can_take(capacity: int) -> None:
    """In a model of time: real back-offs with the product's bounds, a controller that takes ``capacity`` in a second
    and refuses the rest. The sockets are in the test above, and in the benchmarks."""
    agents, chance = 10_000, random.Random(10)
    redials = [Redial(1.0, 60.0, chance.random) for _ in range(agents)]
    due = sorted((each.next_s(), number) for number, each in enumerate(redials))
    taken: Counter[int] = Counter()
    attempts = refused_late = second = 0
    while due:
        second += 1
        now = [entry for entry in due if entry[0] < second]
        later = [entry for entry in due if entry[0] >= second]
        attempts += len(now)
        taken[second] = min(len(now), capacity)
        refused_late += max(0, len(now) - capacity) if second > 30 else 0
        later += [(second + redials[number].next_s(), number) for _, number in now[capacity:]]
        due = sorted(later)
        assert second < 300, "not all are back"
    assert sum(taken.values()) == agents
    assert attempts < 10 * agents
    assert second < (120 if capacity == 300 else 40)
    assert refused_late < agents, "no wave comes again and again"
