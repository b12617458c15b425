"""Who may open a session over gRPC, and whom a device believes: every wrong certificate is turned away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from muster_agent.adapters.link_grpc import Credentials, GrpcLink, LinkTiming
from muster_agent.testing_link import RecordingLinkSink
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
from muster_controller.testing_link import CertificateBook, RecordingSink
from muster_protos.errors import PermanentError
from muster_protos.model import AgentMessage, Hello, Inventory
from muster_protos.v1 import link_pb2, link_pb2_grpc

QUICK = LinkTiming(connect_timeout_s=2.0, retry_base_s=0.05, retry_cap_s=0.1)
MONTH_S = 30 * 24 * 3600


class Gate:
    """A controller's end that knows pi-1, and what dialled it."""

    def __init__(self, authority: X509Authority, loop: Any) -> None:
        self.authority = authority
        self.sink = RecordingSink()
        self.book = CertificateBook()
        self._loop = loop
        self.controller = ControllerGrpcLink(self.sink, authority, self.book, port=0)
        self.port: int = loop.run(self.controller.start())
        self.links: list[GrpcLink] = []

    def dial(self, credentials: Credentials, host: str = "127.0.0.1") -> RecordingLinkSink:
        agent = RecordingLinkSink()
        link = GrpcLink(f"grpcs://{host}:{self.port}", lambda: credentials, QUICK)
        self.links.append(link)
        link.start(agent)
        return agent

    def close(self) -> None:
        for link in self.links:
            link.close()
        self._loop.run(self.controller.stop())


@pytest.fixture
def gate(authority: X509Authority, loop_thread: Any) -> Iterator[Gate]:
    made = Gate(authority, loop_thread)
    yield made
    made.close()


@pytest.fixture
def device(authority: X509Authority, make_csr: Callable[[str], tuple[bytes, bytes]], gate: Gate) -> Credentials:
    key, csr = make_csr("pi-1")
    certificate, _, _ = authority.issue_device_certificate(csr, "pi-1")
    gate.book.admit(certificate, "pi-1")
    return Credentials(authority.ca_pem(), certificate, key)


def refused(agent: RecordingLinkSink, caplog: pytest.LogCaptureFixture, gate: Gate) -> str:
    """The reason why no session came about; fails when one did, or when there is none within 10 s."""
    deadline_s = time.monotonic() + 10.0
    while not any("no session with" in record.message for record in caplog.records):
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)
    assert agent.calls == []
    assert gate.sink.opened == []
    agent.wait_for(lambda: agent.failures != [])
    return next(record.message for record in caplog.records if "no session with" in record.message)


def test_good_certificate_opens_a_session(gate: Gate, device: Credentials) -> None:
    agent = gate.dial(device)
    agent.wait_for(lambda: "online" in agent.calls)


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_host_certificate_covers_the_names_of_loopback(authority: X509Authority, host: str) -> None:
    certificate = x509.load_pem_x509_certificate(authority.issue_host_certificate(["muster.example"])[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    assert {host.strip("[]"), "127.0.0.1", "muster.example"} <= found


def test_device_does_not_talk_to_a_controller_of_another_ca(
    gate: Gate, device: Credentials, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other_ca = open_authority(tmp_path / "other", "lab").ca_pem()
    agent = gate.dial(Credentials(other_ca, device.certificate, device.key))
    assert "unavailable" in refused(agent, caplog, gate)


def test_device_does_not_talk_to_a_controller_under_a_foreign_name(
    gate: Gate, device: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    agent = gate.dial(device, host="127.0.0.2")  # reaches nobody else: 127.0.0.2 is not in the certificate
    assert "unavailable" in refused(agent, caplog, gate)


def test_certificate_of_another_fleet_is_turned_away_by_tls(
    gate: Gate, device: Credentials, make_csr: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-1")
    foreign, _, _ = open_authority(tmp_path / "other", "lab").issue_device_certificate(csr, "pi-1")
    agent = gate.dial(Credentials(device.ca, foreign, key))
    assert "unavailable" in refused(agent, caplog, gate)


def test_expired_certificate_is_turned_away_by_tls(
    gate: Gate, device: Credentials, make_csr: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-1")
    past_ns = time.time_ns() - (MONTH_S + 86_400) * 10**9
    authority = open_authority(tmp_path / "same", "lab", now_ns=lambda: past_ns)
    gate_of_it = Gate(authority, gate._loop)
    try:
        expired, _, _ = authority.issue_device_certificate(csr, "pi-1")
        gate_of_it.book.admit(expired, "pi-1")
        agent = gate_of_it.dial(Credentials(authority.ca_pem(), expired, key))
        assert "unavailable" in refused(agent, caplog, gate_of_it)
    finally:
        gate_of_it.close()


def test_host_certificate_does_not_pass_for_a_device(
    gate: Gate, device: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = gate.authority.issue_host_certificate(["pi-1"])
    gate.book.admit(certificate, "pi-1")  # even then: its purpose is another
    agent = gate.dial(Credentials(device.ca, certificate, key))
    assert "unavailable" in refused(agent, caplog, gate)


def test_peer_without_a_certificate_is_turned_away(gate: Gate, device: Credentials) -> None:
    with grpc.secure_channel(f"127.0.0.1:{gate.port}", grpc.ssl_channel_credentials(device.ca)) as channel:
        stub = link_pb2_grpc.LinkStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Fetch(link_pb2.FetchRequest(sha256="a" * 64), timeout=5))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_peer_without_tls_is_turned_away(gate: Gate) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gate.port}") as channel, pytest.raises(grpc.RpcError):
        list(link_pb2_grpc.LinkStub(channel).Connect(iter([]), timeout=5))


def test_unknown_device_of_the_fleet_is_refused_with_the_reason_and_keeps_trying(
    gate: Gate, device: Credentials, make_csr: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key, csr = make_csr("pi-2")
    certificate, _, _ = gate.authority.issue_device_certificate(csr, "pi-2")
    agent = gate.dial(Credentials(device.ca, certificate, key))
    assert "expected a joined device" in refused(agent, caplog, gate)
    gate.book.admit(certificate, "pi-2")
    agent.wait_for(lambda: "online" in agent.calls)


def test_refused_device_cannot_fetch_or_renew_either(gate: Gate, device: Credentials) -> None:
    gate.book.revoke("pi-1")
    gate.sink.artifacts["a" * 64] = (b"secret", frozenset({"pi-1"}))
    credentials = grpc.ssl_channel_credentials(device.ca, device.key, device.certificate)
    with grpc.secure_channel(f"127.0.0.1:{gate.port}", credentials) as channel:
        stub = link_pb2_grpc.LinkStub(channel)
        with pytest.raises(grpc.RpcError) as fetch:
            list(stub.Fetch(link_pb2.FetchRequest(sha256="a" * 64), timeout=5))
        with pytest.raises(grpc.RpcError) as renew:
            stub.Renew(link_pb2.RenewRequest(csr_pem=b"x"), timeout=5)
    assert fetch.value.code() == renew.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_id_in_a_message_does_not_change_who_a_device_is(gate: Gate, device: Credentials) -> None:
    agent = gate.dial(device)
    agent.wait_for(lambda: "online" in agent.calls)
    assert gate.links[0].send(AgentMessage(Hello(Inventory(device_id="pi-2"))))
    gate.sink.wait_for(lambda: gate.sink.messages)
    assert gate.sink.messages[0][0] == "pi-1"


def test_taken_port_is_an_error_with_the_address(gate: Gate, authority: X509Authority) -> None:
    second = ControllerGrpcLink(gate.sink, authority, gate.book, port=gate.port)
    with pytest.raises(PermanentError, match=str(gate.port)):
        gate._loop.run(second.start())
