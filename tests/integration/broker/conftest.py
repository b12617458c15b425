from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.identity_x509.certificates import key_pem, make_key
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.mqtt.visit import Visit, Will

FLEET = "fleet-1"


@pytest.fixture
def authority(tmp_path: Path) -> X509Authority:
    return open_authority(tmp_path / "identity", FLEET)


@pytest.fixture
def broker(tmp_path: Path, authority: X509Authority, mosquitto: str) -> Iterator[MosquittoBroker]:
    broker = MosquittoBroker(tmp_path / "broker", authority, FLEET)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def enrol(authority: X509Authority) -> Callable[..., Credentials]:
    """Credentials as a join gives them to a device, of the fleet or of the authority that is named."""

    def enrol(device_id: str, issuer: X509Authority = authority) -> Credentials:
        key = make_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muster device")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
        certificate, _, _ = issuer.issue_device_certificate(csr.public_bytes(Encoding.PEM), device_id)
        return Credentials(authority.ca_pem(), certificate, key_pem(key))

    return enrol


@pytest.fixture
def visit(broker: MosquittoBroker, enrol: Callable[..., Credentials]) -> Callable[..., Visit]:
    """A visit to the broker as a device, or as the controller."""

    def visit(
        name: str, credentials: Credentials | None = None, client_id: str = "", will: Will | None = None
    ) -> Visit:
        if credentials is None:
            credentials = broker.credentials() if name == CONTROLLER else enrol(name)
        return Visit("127.0.0.1", broker.port, credentials, client_id or name, timeout_s=5.0, will=will)

    return visit
