"""Devices that join, talk and are removed leave nothing behind in memory but the list of what was issued to them."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from muster_controller.adapters.identity_x509.certificates import make_key
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos.model import AgentMessage, Event, Hello, Inventory, JoinRequest, Report, ReportedState, Telemetry

_WARM_UP, _CYCLES = 12, 30
_CERTIFICATES = 2 * _CYCLES  # of a device, and for the door at a broker; until they have run out
_CACHES = ("ReferenceType", "Statement", "builtin_function_or_method")  # bounded: of ABCs, and of SQLite connections
_NOISE = _CYCLES // 2  # objects in all: a leak of one for each device is twice that


def test_memory_does_not_grow_with_the_devices_that_were_there_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "muster_controller")  # pytest keeps what is logged
    lab = ServiceLab(tmp_path, open_store(tmp_path / "fleet.sqlite3"))
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(make_key(), SHA256())
    line = lab.service.tokens.new(uses=1000)
    try:
        for number in range(_WARM_UP):
            come_and_go(lab, csr.public_bytes(Encoding.PEM), line.secret, f"before-{number}")
        before = living(lab)
        for number in range(_CYCLES):
            come_and_go(lab, csr.public_bytes(Encoding.PEM), line.secret, f"after-{number}")
        grown = living(lab) - before
    finally:
        lab.close()
        lab.store.close()
    assert grown.pop("IssuedCertificate", 0) == _CERTIFICATES
    for known in _CACHES:
        grown.pop(known, None)
    assert sum(grown.values()) < _NOISE, f"expected no more objects than before, found {grown.most_common(8)}"


def come_and_go(lab: ServiceLab, csr: bytes, secret: str, device_id: str) -> None:
    """A device's whole life: join, session, hello, one of each message, an absurd one, a cut, a removal."""
    sessions = lab.service.sessions
    sessions.join(JoinRequest(secret, csr, Inventory(), device_id))
    session = RecordingSession(device_id)
    sessions.session_opened(session)
    bodies = (
        Hello(Inventory(), run_id=device_id),
        Report("events", 1, 1, Event(f"{device_id}-1", "child.crashed", lab.clock.now_ns(), reason="again")),
        Telemetry(at_ns=lab.clock.now_ns()),
        Telemetry(at_ns=lab.clock.now_ns(), cpu_ratio=-1e300),
        ReportedState(device_id, 1, 1, "boot", True),
    )
    for body in bodies:
        sessions.messages_received(session, [AgentMessage(body)])
    sessions.session_closed(session, "cut")
    lab.service.devices.remove(device_id)


def living(lab: ServiceLab) -> Counter[str]:
    """Objects by type, after what the controller does once an hour."""
    lab.service.forget_the_removed()
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects())
