"""A controller's own certificates change while it listens; devices notice nothing."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.adapters.link_grpc import GrpcLink
from muster_controller.adapters.link_grpc.host_certificate import LIFE_S
from muster_controller.testing_link import CertificateBook, RecordingSink


class Loop:
    """An event loop in a thread, as the controller has one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def authority(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "identity", "lab")


def shown(authority: X509Authority, port: int) -> str:
    """The fingerprint of the certificate at the port, which must be the fleet's and valid for the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.ca_pem().decode())
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as stream,
        context.wrap_socket(stream, server_hostname="127.0.0.1") as secure,
    ):
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


def test_the_grpc_end_shows_a_new_certificate_when_the_old_one_is_a_week_old(
    loop: Loop, authority: X509Authority
) -> None:
    now_s = [0.0]
    link = GrpcLink(RecordingSink(), authority, CertificateBook(), port=0, monotonic_s=lambda: now_s[0])
    port = loop.run(link.start())
    try:
        first = shown(authority, port)
        now_s[0] = LIFE_S - 1
        assert shown(authority, port) == first
        now_s[0] = LIFE_S
        second = shown(authority, port)
        assert second != first
        assert shown(authority, port) == second
    finally:
        loop.run(link.stop())


def test_the_join_endpoint_shows_a_new_certificate_when_told(loop: Loop, authority: X509Authority) -> None:
    endpoint = JoinEndpoint(lambda _: pytest.fail("nobody joins"), authority, port=0)
    endpoint.renew_certificate()  # before it listens there is nothing to renew
    port = loop.run(endpoint.start())
    try:
        first = shown(authority, port)
        assert shown(authority, port) == first
        endpoint.renew_certificate()
        assert shown(authority, port) != first
    finally:
        loop.run(endpoint.stop())
