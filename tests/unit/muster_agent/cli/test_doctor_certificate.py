"""What the doctor says of a device's certificate and clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from muster_agent.cli.doctor import FAILED, OK, WARNING, _clock
from muster_agent.identity_folder import Identity
from muster_agent.join import make_request
from muster_controller.adapters.identity_x509 import X509Authority, open_authority

DAY_S = 86_400


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    authority: X509Authority = open_authority(tmp_path / "controller", "lab")
    certificate = authority.issue_device_certificate(make_request(tmp_path / "key.pem"), "pi")[0]
    return Identity("lab", "pi", certificate, authority.ca_pem(), authority.signing_keys(), ())


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [
        (0.0, OK, "good for 7 days"),
        (5.4, OK, "good for 2 days"),  # it renews from the fifth day on: no reason to worry
        (6.5, WARNING, "ends in 12 h"),
        (60.0, FAILED, "ended 53 days ago"),
        (-2.0, WARNING, "takes the time from the controller"),
        (-20_000.0, WARNING, "takes the time from the controller"),
    ],
)
def test_the_verdict_follows_the_certificates_life(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, days: float, verdict: str, words: str
) -> None:
    now_s = time.time() + days * DAY_S
    monkeypatch.setattr(time, "time", lambda: now_s)
    finding = _clock(identity)
    assert (finding.verdict, words in finding.found) == (verdict, True)
    assert (finding.fix == "") == (verdict == OK)


def test_a_damaged_certificate_is_named() -> None:
    assert _clock(Identity("lab", "pi", b"cert", b"ca", (), ())).found == "is damaged"


def test_a_device_outside_a_fleet_has_a_clock_only() -> None:
    assert _clock(None).verdict == OK
