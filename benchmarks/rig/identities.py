"""Identities for many devices by the fleet's own code, without the door: for what begins when they have joined."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.controller import SystemClock
from muster_controller.core.entities import Device
from muster_controller.service.fleet import ensure_fleet
from muster_protos.credentials import Credentials
from muster_protos.model import Inventory


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device has after its join."""

    fleet_id: str
    device_id: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A device's key and its certificate request, PEM."""

    key: bytes
    csr: bytes


def make_key_pair() -> KeyPair:
    """As ``python -m muster_agent.keys`` makes them, without a child for each."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muster device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(pem, request.public_bytes(Encoding.PEM))


def issue(data: Path, count: int, prefix: str = "sim") -> list[Identity]:
    """``count`` devices in the store and under the CA in ``data``, which no controller may be using just now."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = open_store(data / "fleet.sqlite3")
    try:
        fleet = ensure_fleet(store, SystemClock(), "lab")
        authority = open_authority(data / "identity", fleet.fleet_id)
        found = []
        for number in range(count):
            device_id, pair = f"{prefix}-{number:05d}", make_key_pair()
            certificate, serial, key_sha256 = authority.issue_device_certificate(pair.csr, device_id)
            store.put_device(Device(device_id, device_id, time.time_ns(), serial, key_sha256, Inventory()))
            credentials = Credentials(authority.ca_pem(), certificate, pair.key)
            found.append(Identity(fleet.fleet_id, device_id, credentials))
        return found
    finally:
        store.close()
