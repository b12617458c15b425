"""A fleet that is restored elsewhere from yesterday's backup, and the device that has gone on since."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import muster
from muster.devices import Device

pytestmark = pytest.mark.slow

TIMEOUT_S = 120.0
POLICY = "constraints: {p95_ms: {max: 1000}}\nobjective: accuracy\n"


def eventually(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def device_of(fleet: muster.Fleet) -> Device:
    (device,) = fleet.devices
    return device


def held(fleet: muster.Fleet) -> tuple[int, int]:
    """(epoch, version) of what the device has adopted."""
    reported = device_of(fleet).fields["reported"] or {}
    return reported.get("epoch", 0), reported.get("desired_version", 0)


def serving(fleet: muster.Fleet) -> list[str]:
    reported = device_of(fleet).fields["reported"] or {}
    return [item["state"] for item in reported.get("serving", [])]


@pytest.mark.parametrize("link", ["grpc", pytest.param("mqtt", marks=pytest.mark.faults)])
def test_a_device_that_is_ahead_converges_to_the_restored_fleet_without_joining_again(
    link: str, request, tmp_path: Path, files: Path, start_controller, start_agent
) -> None:
    if link == "mqtt":
        request.getfixturevalue("mosquitto")
    state, backup, passphrase = tmp_path / "state", tmp_path / "fleet.tar", tmp_path / "passphrase"
    passphrase.write_text("correct horse battery\n")
    with start_controller(tmp_path / "data", "--no-device", link=link) as before:
        joined = before.muster("join", before.new_token()["line"], "--state", str(state), "--id", "shelf")
        assert joined.returncode == 0, joined.stderr
        ports = json.loads((tmp_path / "data" / "endpoints.json").read_text())
        with start_agent(state) as agent:
            with muster.connect(data=before.data) as fleet:
                model = fleet.models.register(files / "model.onnx", name="linear", data=files / "data.npz")
                fleet.bench(model, tier="demo", threads=[1]).result(timeout_s=TIMEOUT_S)
                rollout = fleet.select(model, policy=POLICY).rollout()
                rollout.wait(timeout_s=TIMEOUT_S)
                made = before.muster("export", str(backup), "--with-artifacts", "--passphrase-file", str(passphrase))
                assert made.returncode == 0, made.stderr
                # It goes on: what the backup has is taken back, and something is measured that it does not know.
                rollout.rollback()
                later = fleet.bench(model, tier="demo", threads=[1])
                later.result(timeout_s=TIMEOUT_S)
                eventually(lambda: serving(fleet) == [], "the rollback did not reach the device")
                ahead = held(fleet)
                assert ahead > (1, 0)
            before.process.send_signal(signal.SIGTERM)
            before.process.wait(60)

            elsewhere = tmp_path / "elsewhere"
            options = ("import", str(backup), "--passphrase-file", str(passphrase))
            restored = subprocess.run(
                [sys.executable, "-m", "muster_controller", "--data", str(elsewhere), *options],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert restored.returncode == 0, restored.stderr
            port = ports[link].rpartition(":")[2]
            with (
                start_controller(elsewhere, "--no-device", link=link, port=port) as after,
                muster.connect(data=elsewhere) as fleet,
            ):
                eventually(lambda: held(fleet) > ahead and serving(fleet) == ["committed"], "it did not converge")
                assert held(fleet)[0] == 2
                assert device_of(fleet).fields["presence"] == "online"
                assert after.muster("bench", "show", later.run_id).returncode == 4, (
                    "acknowledged after the backup: lost"
                )
                again = fleet.bench("linear", tier="demo", threads=[1])
                (record,) = again.result(timeout_s=TIMEOUT_S)
                assert record.fields["latency"]["p50"] > 0
            assert agent.poll() is None, "the same agent all the way"
