"""Who may open a session over MQTT, and whom a device believes: every wrong certificate is turned away."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_agent.adapters.link_mqtt import LinkTiming, MqttLink
from muster_agent.testing_link import RecordingLinkSink
from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.adapters.link_mqtt import MqttLink as ControllerMqttLink
from muster_protos.credentials import Credentials
from muster_protos.errors import InvalidInputError, NotAuthorisedError, TemporaryError, UnreachableError
from muster_protos.model import AgentMessage, Goodbye, Hello, Inventory

QUICK = LinkTiming(connect_timeout_s=2.0, retry_base_s=0.05, retry_cap_s=0.1)
YEAR_S = 365 * 24 * 3600


class Gate:
    """A broker with a controller that knows pi-1, and what dialled it."""

    def __init__(self, pair: Any) -> None:
        self.pair = pair
        self.links: list[MqttLink] = []

    def dial(self, credentials: Credentials, device_id: str = "pi-1", host: str = "127.0.0.1") -> RecordingLinkSink:
        agent = RecordingLinkSink()
        link = MqttLink(f"mqtts://{host}:{self.pair.port}", "lab", device_id, lambda: credentials, QUICK)
        self.links.append(link)
        link.start(agent)
        return agent

    def refused(self, agent: RecordingLinkSink, caplog: pytest.LogCaptureFixture) -> str:
        """The reason why no session came about; fails when one did, or when there is none within 10 s."""
        deadline_s = time.monotonic() + 10.0
        while not any("no session with" in record.message for record in caplog.records):
            assert time.monotonic() < deadline_s
            threading.Event().wait(0.02)
        assert agent.calls == []
        assert self.pair.sink.opened == []
        agent.wait_for(lambda: agent.failures != [])
        return next(record.message for record in caplog.records if "no session with" in record.message)

    def close(self) -> None:
        for link in self.links:
            link.close()


@pytest.fixture
def gate(mqtt_pair: Any) -> Iterator[Gate]:
    made = Gate(mqtt_pair)
    yield made
    made.close()


@pytest.fixture
def device(gate: Gate) -> Credentials:
    credentials: Credentials = gate.pair.admit("pi-1")
    return credentials


def test_good_certificate_opens_a_session(gate: Gate, device: Credentials) -> None:
    agent = gate.dial(device)
    agent.wait_for(lambda: "online" in agent.calls)


def test_device_does_not_talk_to_a_broker_of_another_ca(
    gate: Gate, device: Credentials, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other_ca = open_authority(tmp_path / "other", "lab").ca_pem()
    agent = gate.dial(Credentials(other_ca, device.certificate, device.key))
    assert "found another certificate" in gate.refused(agent, caplog)


def test_device_does_not_talk_to_a_broker_under_a_foreign_name(
    gate: Gate, device: Credentials, tcp_proxy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listening:  # its certificate does not name 127.0.0.2
        threading.Thread(target=forward_one, args=(listening, gate.pair.port), daemon=True).start()
        agent = RecordingLinkSink()
        port = listening.getsockname()[1]
        gate.links.append(MqttLink(f"mqtts://127.0.0.2:{port}", "lab", "pi-1", lambda: device, QUICK))
        gate.links[-1].start(agent)
        assert "found another certificate" in gate.refused(agent, caplog)
        gate.close()


def forward_one(listening: socket.socket, port: int) -> None:
    near, _ = listening.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)
        back.join(5)


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(4096):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_certificate_of_another_fleet_is_turned_away_by_tls(
    gate: Gate, device: Credentials, make_csr: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-1")
    foreign, _, _ = open_authority(tmp_path / "other", "lab").issue_device_certificate(csr, "pi-1")
    agent = gate.dial(Credentials(device.ca, foreign, key))
    assert "this certificate" in gate.refused(agent, caplog)


def test_expired_certificate_is_turned_away_by_tls_with_a_readable_reason(
    gate: Gate, device: Credentials, make_csr: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-1")
    past_ns = time.time_ns() - YEAR_S * 10**9
    long_ago = gate.pair.authority_at(lambda: past_ns)
    expired, _, _ = long_ago.issue_device_certificate(csr, "pi-1")
    agent = gate.dial(Credentials(device.ca, expired, key))
    assert "expired" in gate.refused(agent, caplog)


def test_certificate_of_another_device_does_not_let_in_under_this_id(
    gate: Gate, device: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker takes the id from the certificate: what pi-2 says as pi-1 reaches nobody."""
    other = gate.pair.admit("pi-2")
    agent = gate.dial(other, device_id="pi-1")
    assert "no session with" in gate.refused(agent, caplog)


def test_host_certificate_does_not_pass_for_a_device(
    gate: Gate, device: Credentials, authority: Any, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.issue_host_certificate(["pi-1"])
    agent = gate.dial(Credentials(device.ca, certificate, key))
    assert "this certificate" in gate.refused(agent, caplog)


def test_peer_without_a_certificate_is_turned_away(gate: Gate, device: Credentials) -> None:
    context = ssl.create_default_context(cadata=device.ca.decode())
    with (
        socket.create_connection(("127.0.0.1", gate.pair.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        pytest.raises(OSError, match="certificate required"),
    ):
        secure.recv(1)


def test_unknown_device_of_the_fleet_is_refused_with_the_reason_and_keeps_trying(
    gate: Gate, device: Credentials, make_csr: Any, authority: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-2")
    certificate, _, _ = authority.issue_device_certificate(csr, "pi-2")
    agent = gate.dial(Credentials(device.ca, certificate, key), device_id="pi-2")
    assert "expected a joined device" in gate.refused(agent, caplog)
    gate.pair.book.admit(certificate, "pi-2")
    agent.wait_for(lambda: "online" in agent.calls)


def test_revoked_device_can_neither_fetch_nor_renew(gate: Gate, device: Credentials) -> None:
    gate.pair.sink.artifacts["a" * 64] = (b"secret", frozenset({"pi-1"}))
    agent = gate.dial(device)
    agent.wait_for(lambda: "online" in agent.calls)
    gate.pair.book.revoke("pi-1")
    gate.pair.sink.opened[0].close("removed", is_revoked=True)
    agent.wait_for(lambda: len(agent.calls) == 2)
    with pytest.raises(TemporaryError):
        gate.links[0].fetch("a" * 64, 0, lambda _: None, threading.Event())
    with pytest.raises(TemporaryError):
        gate.links[0].renew(b"x")
    again = gate.dial(device)
    again.wait_for(lambda: again.messages)
    assert isinstance(again.messages[0].body, Goodbye)
    assert again.messages[0].body.is_revoked
    assert again.calls == []


def test_id_in_a_message_does_not_change_who_a_device_is(gate: Gate, device: Credentials) -> None:
    agent = gate.dial(device)
    agent.wait_for(lambda: "online" in agent.calls)
    assert gate.links[0].send(AgentMessage(Hello(Inventory(device_id="pi-2"))))
    gate.pair.sink.wait_for(lambda: gate.pair.sink.messages)
    assert gate.pair.sink.messages[0][0] == "pi-1"


@pytest.mark.parametrize("url", ["", "mqtt://h:1883", "mqtts://", "mqtts://h:99999", "grpcs://h:8471", "mqtts://h:x"])
def test_link_that_is_no_such_link_is_refused(url: str, device: Credentials) -> None:
    with pytest.raises(InvalidInputError, match="mqtts://HOST:8883"):
        MqttLink(url, "lab", "pi-1", lambda: device)


def test_controller_says_that_nobody_listens(gate: Gate, loop_thread: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = ControllerMqttLink(gate.pair.sink, gate.pair.book, "lab", "127.0.0.1", port, gate.pair.broker.credentials)
    with pytest.raises(UnreachableError, match="nobody listens"):
        loop_thread.run(link.start())


def test_controller_says_that_the_broker_is_another_ones(gate: Gate, loop_thread: Any, tmp_path: Path) -> None:
    other = open_authority(tmp_path / "other", "lab")
    certificate, key = other.issue_client_certificate("_controller")
    credentials = Credentials(other.ca_pem(), certificate, key)
    link = ControllerMqttLink(gate.pair.sink, gate.pair.book, "lab", "127.0.0.1", gate.pair.port, lambda: credentials)
    with pytest.raises(NotAuthorisedError, match="another certificate"):
        loop_thread.run(link.start())
