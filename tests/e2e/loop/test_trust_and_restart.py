"""What goes wrong between people, devices and a controller, and what is left of the work then."""

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

pytestmark = pytest.mark.slow

TIMEOUT_S = 120.0


def eventually(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_join_secrets_that_are_not_good_end_with_5(no_device_controller, tmp_path: Path) -> None:
    controller = no_device_controller
    expired = json.loads(controller.muster("token", "new", "--for", "1ms", "-o", "json").stdout)
    revoked = json.loads(controller.muster("token", "new", "-o", "json").stdout)
    assert controller.muster("token", "revoke", revoked["token"]["token_id"]).returncode == 0
    for made, word in ((expired, "expired"), (revoked, "revoked")):
        refused = controller.muster("join", made["link"], "--state", str(tmp_path / word), "--id", word)
        assert refused.returncode == 5, refused.stderr
        assert word in refused.stderr
        assert made["secret"] not in refused.stdout + refused.stderr
    assert json.loads(controller.muster("device", "ls", "-o", "json").stdout) == []


def test_one_secret_joins_one_device_and_the_same_device_twice_is_one(no_device_controller, tmp_path: Path) -> None:
    controller = no_device_controller
    link = json.loads(controller.muster("token", "new", "--uses", "2", "-o", "json").stdout)["link"]
    for _ in range(2):
        joined = controller.muster("join", link, "--state", str(tmp_path / "state"), "--id", "shelf")
        assert joined.returncode == 0, joined.stderr
    again = controller.muster("join", link, "--state", str(tmp_path / "other"), "--id", "other")
    assert again.returncode == 5
    devices = json.loads(controller.muster("device", "ls", "-o", "json").stdout)
    assert [device["device_id"] for device in devices] == ["shelf"]
    assert controller.muster("device", "rm", "shelf", "--yes").returncode == 0


def test_events_are_followed_live_and_the_controller_stops_all_the_same(no_device_controller) -> None:
    controller = no_device_controller
    with muster.connect(data=controller.data) as fleet:
        stream = fleet.connection.stream("/v1/events/stream", after="0")
        link = fleet.new_token()["link"]
        joined = controller.muster("join", str(link), "--state", str(controller.data / "live"), "--id", "live")
        assert joined.returncode == 0, joined.stderr
        seen = next(fields for name, fields in stream if name == "fleet" and fields["device_id"] == "live")
        assert seen["kind"] == "device.joined"
        fleet.devices.remove("live")
        removed = next(fields for _, fields in stream if fields.get("kind") == "device.removed")
        assert removed["device_id"] == "live"


def test_ctrl_c_stops_the_controller_with_130_while_somebody_follows_events(tmp_path: Path, start_controller) -> None:
    with start_controller(tmp_path / "data", "--no-device") as controller:
        follower = subprocess.Popen(
            [sys.executable, "-m", "muster_controller", "events", "--follow"],
            env=controller.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert follower.stderr is not None
        assert "following" in follower.stderr.readline()
        controller.process.send_signal(signal.SIGINT)
        assert controller.process.wait(30) == 130
        _, _ = follower.communicate(timeout=30)
        assert not (controller.data / "endpoints.json").exists()
        assert controller.muster("status").returncode == 6


def test_benchmarks_in_flight_finish_after_the_controller_was_killed(
    tmp_path: Path, files: Path, start_controller
) -> None:
    data = tmp_path / "data"
    with start_controller(data) as controller:
        with muster.connect(data=data) as fleet:
            model = fleet.models.register(files / "model.onnx", name="linear", data=files / "data.npz")
            run = fleet.bench(model, tier="quick", threads=[1, 2])
            eventually(lambda: bool(run.view().fields["progress"]), "no benchmark has started")
        controller.process.kill()
        controller.process.wait(30)
    with start_controller(data), muster.connect(data=data) as fleet:
        from muster.bench import BenchmarkRun

        again = BenchmarkRun(fleet.connection, run.run_id)
        eventually(lambda: again.view().is_done, "the run did not finish")
        view = again.view()
        assert {request["state"] for request in view.requests} == {"done"}
        keys = [(record.fields["request_id"], record.fields["attempt"]) for record in again.records()]
        assert len(keys) == len(set(keys)) == len(view.requests)
