from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, NotAuthorisedError, UnreachableError
from muster_protos.mqtt.tls import tls_context
from muster_protos.mqtt.visit import Visit

ROOT = "muster/1/fleet-1"
_ACCEPTED = b"\x20\x02\x00\x00"  # CONNACK, return code 0
_LONG_AGO_NS = 10**9 * 86_400


def test_nobody_without_a_certificate(visit: Callable[..., Visit], authority: X509Authority) -> None:
    with pytest.raises(MusterError), visit("a", Credentials(authority.ca_pem(), b"", b"")):
        pass


def test_nobody_of_another_ca(visit: Callable[..., Visit], enrol: Callable[..., Credentials], tmp_path: Path) -> None:
    foreign = open_authority(tmp_path / "foreign", "fleet-1")
    with pytest.raises(MusterError), visit("a", enrol("a", foreign)):
        pass


def test_nobody_whose_certificate_has_expired(
    visit: Callable[..., Visit], enrol: Callable[..., Credentials], tmp_path: Path
) -> None:
    long_ago = open_authority(tmp_path / "identity", "fleet-1", now_ns=lambda: _LONG_AGO_NS)
    with pytest.raises(MusterError), visit("a", enrol("a", long_ago)):
        pass


def test_nobody_with_the_certificate_of_an_endpoint(visit: Callable[..., Visit], authority: X509Authority) -> None:
    certificate, key = authority.issue_host_certificate([])
    with pytest.raises(MusterError), visit("localhost", Credentials(authority.ca_pem(), certificate, key)):
        pass


def test_visitor_refuses_a_broker_of_another_ca(
    broker: MosquittoBroker, enrol: Callable[..., Credentials], tmp_path: Path
) -> None:
    mine = enrol("a")
    foreign = open_authority(tmp_path / "foreign", "fleet-1")
    trusting_another = Credentials(foreign.ca_pem(), mine.certificate, mine.key)
    with pytest.raises(NotAuthorisedError), Visit("127.0.0.1", broker.port, trusting_another, "a"):
        pass


def test_revocation_ends_the_live_session_and_refuses_the_next(
    broker: MosquittoBroker, visit: Callable[..., Visit], enrol: Callable[..., Credentials]
) -> None:
    earlier, now = enrol("a"), enrol("a")
    with visit("a", now) as live, visit("b") as other, visit(CONTROLLER) as controller:
        live.subscribe(f"{ROOT}/a/down/#")
        other.subscribe(f"{ROOT}/b/down/#")
        broker.revoke("a")
        assert live.receive(5.0) is None
        assert live.is_over
        for credentials in (now, earlier):
            with pytest.raises(MusterError), visit("a", credentials):
                pass
        controller.publish(f"{ROOT}/b/down/ack", b"still here?")
        assert other.receive(5.0) == (f"{ROOT}/b/down/ack", b"still here?")


def test_revocation_outlives_broker_and_controller(
    broker: MosquittoBroker, visit: Callable[..., Visit], enrol: Callable[..., Credentials], tmp_path: Path
) -> None:
    revoked = enrol("a")
    broker.revoke("a")
    broker.stop()
    again = MosquittoBroker(tmp_path / "broker", open_authority(tmp_path / "identity", "fleet-1"), "fleet-1")
    port = again.start()
    try:
        with pytest.raises(MusterError), Visit("127.0.0.1", port, revoked, "a"):
            pass
    finally:
        again.stop()


def test_other_hardware_may_bear_a_revoked_id(
    broker: MosquittoBroker, visit: Callable[..., Visit], enrol: Callable[..., Credentials]
) -> None:
    old = enrol("a")
    broker.revoke("a")
    with visit("a", enrol("a")) as successor:
        successor.subscribe(f"{ROOT}/a/down/#")
        with pytest.raises(MusterError), visit("a", old):
            pass
        assert successor.receive(0.0) is None
        assert not successor.is_over


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_revoked_certificate_is_not_let_in_by_resuming_a_tls_session(
    broker: MosquittoBroker, enrol: Callable[..., Credentials], version: ssl.TLSVersion
) -> None:
    context = tls_context(enrol("a"))
    context.maximum_version = version

    def connect(session: ssl.SSLSession | None) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", broker.port), 5.0) as stream,
            context.wrap_socket(stream, server_hostname="127.0.0.1", session=session) as secure,
        ):
            secure.sendall(_connect("a"))
            return secure.recv(4), secure.session_reused, secure.session

    answer, _, session = connect(None)
    assert answer == _ACCEPTED
    assert connect(session)[:2] == (_ACCEPTED, True)
    broker.revoke("a")
    try:
        answer = connect(session)[0]
    except (ssl.SSLError, ConnectionError):
        answer = b""
    assert answer == b""


def _connect(client_id: str) -> bytes:
    """MQTT 3.1.1 CONNECT, clean session."""
    body = b"\x00\x04MQTT\x04\x02\x00\x1e" + len(client_id).to_bytes(2, "big") + client_id.encode()
    return b"\x10" + bytes([len(body)]) + body


def test_refusal_is_told_from_a_broker_that_goes_down(
    broker: MosquittoBroker, visit: Callable[..., Visit], enrol: Callable[..., Credentials], tmp_path: Path
) -> None:
    foreign = enrol("a", open_authority(tmp_path / "foreign", "fleet-1"))
    for _ in range(20):  # under TLS 1.3 the broker's word may be lost with the connection
        with pytest.raises(NotAuthorisedError, match="refuses this certificate"), visit("a", foreign):
            pass
    broker.stop()
    with pytest.raises(UnreachableError), visit("a", foreign):
        pass
