"""Lines for a join over a broker that its TLS refuses: what is wrong with the line is said, not what TLS calls it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import join
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_protos.errors import NotAuthorisedError
from muster_protos.join_link import BrokerJoinLink
from muster_protos.model import Inventory
from muster_protos.mqtt.tls import private_file

FLEET, SECRET, PAST_S = "fleet-1", "s" * 32, 1_000_000_000


class Gate:
    """The TLS of a broker: lets in whom the fleet's CA knows, and says nothing then."""

    def __init__(self, authority: X509Authority) -> None:
        certificate, key = authority.issue_host_certificate(("127.0.0.1",))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(cadata=authority.ca_pem().decode())
        with private_file(certificate + b"\n" + key) as path:
            self.context.load_cert_chain(path)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            with stream, contextlib.suppress(OSError):
                stream.settimeout(2)
                with self.context.wrap_socket(stream, server_side=True) as secure:
                    secure.recv(1)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def authority(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "fleet", FLEET)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def gate(authority: X509Authority, request: pytest.FixtureRequest) -> Iterator[Gate]:
    made = Gate(authority)
    made.context.maximum_version = request.param  # what refuses under 1.3 may be asked again under 1.2
    yield made
    made.close()


def refusal(gate: Gate, authority: X509Authority, ends_s: int, signature: str, folder: Path) -> str:
    line = BrokerJoinLink("127.0.0.1", gate.port, FLEET, SECRET, authority.ca_fingerprint(), ends_s, signature).text()
    with pytest.raises(NotAuthorisedError) as caught:
        join(line, IdentityFolder(folder), Inventory(), timeout_s=5)
    assert caught.value.exit_code == 5
    assert gate.visits > 0  # nothing is refused by a clock that may be absurd
    return str(caught.value)


def test_a_line_that_has_ended_says_when(gate: Gate, authority: X509Authority, tmp_path: Path) -> None:
    said = refusal(gate, authority, PAST_S, authority.sign_claim(SECRET, PAST_S), tmp_path / "device")
    assert said.startswith("expected a join line that is still good, found one that ended at 2001-09-09T01:46:40Z (")
    assert said.endswith("certificate expired); make a new one: muster token new --mqtt")


def test_with_a_clock_in_the_past_the_line_has_ended_all_the_same(
    gate: Gate, authority: X509Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = authority.sign_claim(SECRET, PAST_S)
    monkeypatch.setattr("muster_agent.join_broker.time.time", lambda: 60.0)
    said = refusal(gate, authority, PAST_S, signature, tmp_path / "device")
    assert "ended at 2001-09-09T01:46:40Z, which by the clock here is to come (" in said


def test_a_mistyped_line_and_one_of_another_fleet_say_so(gate: Gate, authority: X509Authority, tmp_path: Path) -> None:
    ends_s = int(time.time()) + 3600
    foreign = open_authority(tmp_path / "foreign", FLEET)
    for ends, signature in (
        (ends_s + 1, authority.sign_claim(SECRET, ends_s)),
        (ends_s, foreign.sign_claim(SECRET, ends_s)),
    ):
        said = refusal(gate, authority, ends, signature, tmp_path / "device")
        assert said.startswith("expected a join line of this fleet, found one that is damaged or of another fleet (")
        assert said.endswith("make a new one: muster token new --mqtt")
