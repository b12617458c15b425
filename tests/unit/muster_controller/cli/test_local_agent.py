"""This machine's own agent joins anew when its certificate ran out while nothing ran, and only then."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from muster_agent.join import make_request
from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.cli.local_agent import LocalAgent
from muster_controller.testing_service import ServiceLab

DAY_NS = 86_400 * 10**9


def identity(folder: Path, days_ago: float) -> Path:
    """A state folder whose certificate was made so long ago."""
    made_ns = time.time_ns() - int(days_ago * DAY_NS)
    authority = open_authority(folder / "controller", "lab", lambda: made_ns)
    (folder / "agent" / "identity").mkdir(parents=True)
    certificate = authority.issue_device_certificate(make_request(folder / "key.pem"), "pi")[0]
    (folder / "agent" / "identity" / "cert.pem").write_bytes(certificate)
    (folder / "agent" / "identity" / "join.json").write_text(json.dumps({"device_id": "pi"}))
    return folder / "agent"


@pytest.mark.parametrize(("days_ago", "has_run_out"), [(1, False), (6.9, False), (8, True), (400, True)])
def test_a_certificate_that_ran_out_is_seen(
    lab: ServiceLab, tmp_path: Path, days_ago: float, has_run_out: bool
) -> None:
    lab.add_device("pi")
    assert LocalAgent(identity(tmp_path, days_ago))._has_run_out(lab.service) is has_run_out


def test_a_machine_that_was_removed_is_not_brought_back(lab: ServiceLab, tmp_path: Path) -> None:
    lab.add_device("pi")
    lab.service.devices.remove("pi")
    assert not LocalAgent(identity(tmp_path, 400))._has_run_out(lab.service)


def test_a_damaged_identity_is_left_to_the_agent(lab: ServiceLab, tmp_path: Path) -> None:
    lab.add_device("pi")
    state = identity(tmp_path, 400)
    (state / "identity" / "cert.pem").write_bytes(b"cert")
    assert not LocalAgent(state)._has_run_out(lab.service)
