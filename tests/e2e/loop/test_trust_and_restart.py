"""What goes wrong between people, devices and a controller, and what is left of the work then."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
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


both_links = pytest.mark.parametrize("link", ["grpc", "mqtt"])


def device_ids(controller) -> set[str]:
    return {str(found["device_id"]) for found in json.loads(controller.muster("device", "ls", "-o", "json").stdout)}


@both_links
def test_join_secrets_that_are_not_good_end_with_5(link: str, door_by, tmp_path: Path) -> None:
    before = device_ids(door_by)
    expired, revoked = door_by.new_token("--for", "1ms"), door_by.new_token()
    assert door_by.muster("token", "revoke", revoked["token"]["token_id"]).returncode == 0
    for made, word in ((expired, "expired"), (revoked, "revoked")):
        refused = door_by.muster("join", made["line"], "--state", str(tmp_path / word), "--id", word)
        assert refused.returncode == 5, refused.stderr
        assert word in refused.stderr
        assert made["secret"] not in refused.stdout + refused.stderr
    assert device_ids(door_by) == before


@both_links
def test_one_secret_joins_one_device_and_the_same_device_twice_is_one(link: str, door_by, tmp_path: Path) -> None:
    before, line = device_ids(door_by), door_by.new_token()["line"]
    for _ in range(2):  # the answer to the first may have been lost: the same device, and no further use
        joined = door_by.muster("join", line, "--state", str(tmp_path / "state"), "--id", "attic")
        assert joined.returncode == 0, joined.stderr
    again = door_by.muster("join", line, "--state", str(tmp_path / "other"), "--id", "other")
    assert again.returncode == 5
    assert device_ids(door_by) - before == {"attic"}
    assert door_by.muster("device", "rm", "attic", "--yes").returncode == 0


@both_links
def test_events_are_followed_live(link: str, door_by, tmp_path: Path) -> None:
    with muster.connect(data=door_by.data) as fleet:
        stream = fleet.connection.stream("/v1/events/stream", after="0")
        line = fleet.new_token()["broker_link" if link == "mqtt" else "link"]
        joined = door_by.muster("join", str(line), "--state", str(tmp_path / "live"), "--id", "live")
        assert joined.returncode == 0, joined.stderr
        seen = next(fields for name, fields in stream if name == "fleet" and fields["device_id"] == "live")
        assert seen["kind"] == "device.joined"
        fleet.devices.remove("live")
        removed = next(f for _, f in stream if (f.get("kind"), f.get("device_id")) == ("device.removed", "live"))
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


@pytest.mark.parametrize("link", ["grpc", pytest.param("mqtt", marks=pytest.mark.faults)])
def test_benchmarks_in_flight_finish_after_the_controller_was_killed(
    link: str, request, tmp_path: Path, files: Path, start_controller, start_agent
) -> None:
    """With the device of `muster up` over gRPC, and with one that outlives the controller over MQTT."""
    if link == "mqtt":
        request.getfixturevalue("mosquitto")
    data, state = tmp_path / "data", tmp_path / "state"
    options = ("--no-device",) if link == "mqtt" else ()
    with ExitStack() as agents:
        with start_controller(data, *options, link=link) as controller:
            port = json.loads((data / "endpoints.json").read_text())[link].rpartition(":")[2]
            if link == "mqtt":
                joined = controller.muster("join", controller.new_token()["line"], "--state", str(state), "--id", "far")
                assert joined.returncode == 0, joined.stderr
                agents.enter_context(start_agent(state))
            with muster.connect(data=data) as fleet:
                model = fleet.models.register(files / "model.onnx", name="linear", data=files / "data.npz")
                eventually(lambda: fleet.status()["online"] == 1, "the device is not online")
                run = fleet.bench(model, tier="quick", threads=[1, 2])
                eventually(lambda: bool(run.view().fields["progress"]), "no benchmark has started")
            controller.process.kill()
            controller.process.wait(30)
        with start_controller(data, *options, link=link, port=port), muster.connect(data=data) as fleet:
            from muster.bench import BenchmarkRun

            again = BenchmarkRun(fleet.connection, run.run_id)
            eventually(lambda: again.view().is_done, "the run did not finish")
            view = again.view()
            assert {request["state"] for request in view.requests} == {"done"}
            keys = [(record.fields["request_id"], record.fields["attempt"]) for record in again.records()]
            assert len(keys) == len(set(keys)) == len(view.requests)
