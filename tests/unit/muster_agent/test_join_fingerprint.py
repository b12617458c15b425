"""What an endpoint that is not the fleet's gets to see of a join: never the secret."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import default_device_id, join
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_protos.errors import InvalidInputError, MusterError, NotAuthorisedError, UnreachableError
from muster_protos.ids import check_id
from muster_protos.join_link import JoinLink
from muster_protos.model import Inventory

SECRET = "the-secret-of-the-join-link"


class RecordingEndpoint:
    """TLS with any certificate; keeps every decrypted byte and answers each request with ``answer``."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes, folder: Path, answer: bytes) -> None:
        pair = folder / "endpoint.pem"
        pair.write_bytes(certificate_pem + key_pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair)
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(answer), answer)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.seen = b""
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as secure:
                secure.settimeout(5)
                self.seen += secure.recv(65_536)
                secure.sendall(self._answer)
                with contextlib.suppress(OSError):
                    while piece := secure.recv(65_536):
                        self.seen += piece


@pytest.fixture
def fleet(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "fleet", "lab")


@pytest.fixture
def attacker(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "attacker", "lab")


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[[X509Authority, bytes], RecordingEndpoint]]:
    made: list[RecordingEndpoint] = []

    def make(authority: X509Authority, answer: bytes) -> RecordingEndpoint:
        made.append(RecordingEndpoint(*authority.issue_host_certificate(), tmp_path, answer))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()


def try_join(endpoint: RecordingEndpoint, fingerprint: str, folder: Path) -> MusterError:
    line = JoinLink("127.0.0.1", endpoint.port, SECRET, fingerprint).text()
    with pytest.raises(MusterError) as caught:
        join(line, IdentityFolder(folder / "identity"), Inventory(), "pi-1", timeout_s=5)
    assert IdentityFolder(folder / "identity").read() is None
    assert SECRET not in str(caught.value)
    return caught.value


def test_wrong_fingerprint_never_sees_the_secret(
    fleet: X509Authority, attacker: X509Authority, listen: Callable[..., RecordingEndpoint], tmp_path: Path
) -> None:
    endpoint = listen(attacker, attacker.ca_pem())
    error = try_join(endpoint, fleet.ca_fingerprint(), tmp_path)
    assert isinstance(error, NotAuthorisedError)
    assert "secret was not sent" in str(error)
    assert endpoint.seen.startswith(b"GET /v1/ca ")
    assert endpoint.connections == 1
    assert SECRET.encode() not in endpoint.seen
    assert b"POST" not in endpoint.seen


def test_somebody_who_repeats_the_fleets_ca_without_its_key_never_sees_the_secret(
    fleet: X509Authority, attacker: X509Authority, listen: Callable[..., RecordingEndpoint], tmp_path: Path
) -> None:
    endpoint = listen(attacker, fleet.ca_pem())
    error = try_join(endpoint, fleet.ca_fingerprint(), tmp_path)
    assert isinstance(error, NotAuthorisedError)
    assert endpoint.connections == 2  # the second fails in the handshake
    assert SECRET.encode() not in endpoint.seen
    assert b"POST" not in endpoint.seen


@pytest.mark.parametrize("order", [1, -1])
def test_second_ca_beside_the_fleets_is_not_trusted(
    fleet: X509Authority,
    attacker: X509Authority,
    listen: Callable[..., RecordingEndpoint],
    tmp_path: Path,
    order: int,
) -> None:
    endpoint = listen(attacker, b"".join((fleet.ca_pem(), attacker.ca_pem())[::order]))
    assert isinstance(try_join(endpoint, fleet.ca_fingerprint(), tmp_path), NotAuthorisedError)
    assert SECRET.encode() not in endpoint.seen


def test_certificate_for_another_name_never_sees_the_secret(
    fleet: X509Authority, listen: Callable[..., RecordingEndpoint], tmp_path: Path
) -> None:
    endpoint = listen(fleet, fleet.ca_pem())
    line = JoinLink("127.0.0.2", endpoint.port, SECRET, fleet.ca_fingerprint()).text()
    with pytest.raises(MusterError):  # nobody listens at 127.0.0.2, and the certificate does not name it
        join(line, IdentityFolder(tmp_path / "identity"), Inventory(), "pi-1", timeout_s=5)
    assert SECRET.encode() not in endpoint.seen


@pytest.mark.parametrize("answer", [b"<html>please log in</html>", b"", b"\0" * 1000, b"x" * 400_000])
def test_captive_portal_is_one_clear_error(
    fleet: X509Authority, listen: Callable[..., RecordingEndpoint], tmp_path: Path, answer: bytes
) -> None:
    endpoint = listen(fleet, answer)
    assert isinstance(try_join(endpoint, fleet.ca_fingerprint(), tmp_path), NotAuthorisedError | InvalidInputError)
    assert SECRET.encode() not in endpoint.seen


def test_answer_that_is_no_join_response_leaves_no_identity(
    fleet: X509Authority, listen: Callable[..., RecordingEndpoint], tmp_path: Path
) -> None:
    endpoint = listen(fleet, fleet.ca_pem())  # the same bytes answer the POST, too
    assert isinstance(try_join(endpoint, fleet.ca_fingerprint(), tmp_path), InvalidInputError)


def test_nobody_there_is_unreachable(fleet: X509Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = JoinLink("127.0.0.1", port, SECRET, fleet.ca_fingerprint()).text()
    with pytest.raises(UnreachableError, match=str(port)) as caught:
        join(line, IdentityFolder(tmp_path / "identity"), Inventory(), "pi-1", timeout_s=5)
    assert caught.value.exit_code == 6


def test_plain_http_port_is_one_clear_error(fleet: X509Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        line = JoinLink("127.0.0.1", listening.getsockname()[1], SECRET, fleet.ca_fingerprint()).text()
        with pytest.raises(MusterError):
            join(line, IdentityFolder(tmp_path / "identity"), Inventory(), "pi-1", timeout_s=5)
        thread.join(5)


@pytest.mark.parametrize(
    ("host_name", "device_id"),
    [
        ("pi5-kitchen.local", "pi5-kitchen"),
        ("My Phone!", "My-Phone"),
        ("", "device"),
        ("...", "device"),
        ("-x-", "x"),
        ("k\u00fcche", "k-che"),
        ("a" * 100, "a" * 64),
    ],
)
def test_host_name_makes_an_id(host_name: str, device_id: str) -> None:
    assert check_id(default_device_id(host_name), "device id") == device_id
