"""An exchange with the controller ends in time whatever the peer does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_agent.https import exchange, trusting
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_protos.errors import UnreachableError

HEAD = b"HTTP/1.1 200 OK\r\n"


class Dripping:
    """TLS with the fleet's own certificate; after ``opening`` a byte every twentieth of a second, for ever."""

    def __init__(self, authority: X509Authority, folder: Path, opening: bytes) -> None:
        pair = folder / "pair.pem"
        pair.write_bytes(b"".join(authority.issue_host_certificate()))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair)
        self._opening = opening
        self._is_over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(10)
        self._listening.close()

    def _run(self) -> None:
        plain, _ = self._listening.accept()
        with contextlib.suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(65_536)
            secure.sendall(self._opening)
            while not self._is_over.wait(0.05):
                secure.sendall(b"x")


@pytest.fixture
def fleet(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "fleet", "lab")


@pytest.fixture(
    params=[HEAD + b"x: ", HEAD + b"content-length: 100000\r\n\r\n", HEAD + b"connection: close\r\n\r\n"],
    ids=["headers", "body with a length", "body without one"],
)
def peer(fleet: X509Authority, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Dripping]:
    made = Dripping(fleet, tmp_path, request.param)
    yield made
    made.close()


def test_who_drips_an_answer_byte_by_byte_is_cut_at_the_end_of_the_time(peer: Dripping, fleet: X509Authority) -> None:
    with pytest.raises(UnreachableError, match="no whole answer in time"):
        exchange("127.0.0.1", peer.port, trusting(fleet.ca_pem()), "GET", "/v1/challenge", None, timeout_s=0.8)
