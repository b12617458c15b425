"""`muster up --mqtt` as people meet it: a broker of our own, one of somebody else, and what is refused."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import muster
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import open_authority

pytestmark = pytest.mark.slow

PORTS = ("--port", "0", "--grpc-port", "0", "--join-port", "0")
TIMEOUT_S = 60.0


def eventually(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def device(controller, device_id: str) -> dict:
    with muster.connect(data=controller.data) as fleet:
        return next((dict(found.fields) for found in fleet.devices.list() if found.id == device_id), {})


def join(state: Path, line: str, device_id: str) -> None:
    """`muster-agent join`, without a shell around it."""
    joined = subprocess.run(
        [sys.executable, "-m", "muster_agent", "join", line, "--state", str(state), "--id", device_id],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert joined.returncode == 0, joined.stderr


def remove(controller, device_id: str) -> None:
    with muster.connect(data=controller.data) as fleet:
        fleet.devices.remove(device_id)


def new_token(controller) -> dict:
    with muster.connect(data=controller.data) as fleet:
        return dict(fleet.new_token())


def test_agent_on_the_broker_has_loaded_no_grpc(broker_controller) -> None:
    pid = int((broker_controller.data / "device" / "agent.lock").read_text())
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "cygrpc" not in maps
    assert "sqlite" in maps


def test_status_and_doctor_show_the_broker(broker_controller) -> None:
    status = json.loads(broker_controller.muster("status", "-o", "json").stdout)
    url = json.loads((broker_controller.data / "endpoints.json").read_text())["mqtt"]
    assert (status["broker"], status["broker_problem"]) == (url, "")
    checks = json.loads(broker_controller.muster("doctor", "-o", "json").stdout)
    assert {check["check"]: check["is_ok"] for check in checks}["broker"]


@pytest.mark.parametrize(
    ("link", "shut_out"), [("grpc", "was removed from the fleet"), ("mqtt", "refuses this certificate")]
)
def test_removed_device_is_told_and_shut_out(link: str, shut_out: str, door_by, start_agent, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    join(tmp_path, door_by.new_token()["line"], "gone")
    with start_agent(tmp_path):
        eventually(lambda: device(door_by, "gone").get("presence") == "online", "the device comes online")
        assert device(door_by, "gone")["link"] == link
        remove(door_by, "gone")
        eventually(lambda: "was removed from the fleet" in log.read_text(), "the device is told")
    log.write_text("")
    with start_agent(tmp_path):
        eventually(lambda: shut_out in log.read_text(), "it is shut out")


def test_agent_falls_back_to_the_broker_when_grpc_is_gone(broker_controller, start_agent, tmp_path: Path) -> None:
    """Both links of the join are known; nobody listens on the first."""
    controller = broker_controller
    join(tmp_path, new_token(controller)["link"], "mixed")
    identity = json.loads((tmp_path / "identity" / "join.json").read_text())
    assert [link.partition(":")[0] for link in identity["links"]] == ["grpcs", "mqtts"]
    with start_agent(tmp_path):
        eventually(lambda: device(controller, "mixed").get("presence") == "online", "the device comes online")
        assert device(controller, "mixed")["link"] == "grpc"
    with socket.create_server(("127.0.0.1", 0)) as dead:
        nobody = f"grpcs://127.0.0.1:{dead.getsockname()[1]}"
    with start_agent(tmp_path, "--link", nobody, "--link", identity["links"][1]):
        eventually(lambda: device(controller, "mixed").get("link") == "mqtt", "the device takes the other link")
    remove(controller, "mixed")


@pytest.fixture
def foreign(tmp_path: Path, mosquitto: str) -> Iterator[MosquittoBroker]:
    """A broker of somebody else, with a CA of his own, that was told to trust the fleet's devices."""
    his = open_authority(tmp_path / "his-identity", "his")
    broker = MosquittoBroker(tmp_path / "his-broker", his, "his")
    broker.start()
    yield broker
    broker.stop()


def trust(folder: Path, fleet_identity: Path, fleet_id: str, rules: str) -> None:
    """What the owner of a broker does as docs/mqtt.md says."""
    ca = folder / "ca.pem"
    ca.write_bytes(ca.read_bytes() + (fleet_identity / "ca.pem").read_bytes())
    configuration = folder / "mosquitto.conf"
    lines = [line for line in configuration.read_text().splitlines() if not line.startswith("crlfile")]
    configuration.write_text("\n".join(lines) + "\n")
    (folder / "acl").write_text(rules.format(root=f"muster/1/{fleet_id}"))


RULES = """user _controller
topic readwrite {root}/#
pattern read {root}/%u/desired
pattern read {root}/%u/down/#
pattern write {root}/%u/presence
pattern write {root}/%u/reported
pattern write {root}/%u/up/#
pattern read {root}/controller/presence
"""


def test_broker_of_somebody_else_is_used_when_it_keeps_devices_apart(
    foreign: MosquittoBroker, start_controller, start_agent, no_device_controller, tmp_path: Path
) -> None:
    data, folder = tmp_path / "data", tmp_path / "his-broker"
    url = f"mqtts://127.0.0.1:{foreign.port}"
    with start_controller(data, "--no-device") as first:
        fleet_id = json.loads(first.muster("status", "-o", "json").stdout)["fleet_id"]
    options = ("--no-device", "--mqtt", url, "--mqtt-ca", str(tmp_path / "his-identity" / "ca.pem"))

    def refused() -> str:
        ended = no_device_controller.muster("up", *PORTS, *options, "--data", str(data))
        assert ended.returncode == 5, ended.stderr
        return ended.stderr.strip()

    assert "identity/ca.pem" in refused()
    trust(folder, data / "identity", fleet_id, RULES + "pattern write {root}/+/up/#\n")
    restart(foreign)
    lax = refused()
    assert "write another's topic" in lax
    assert "\n" not in lax
    (folder / "acl").write_text(RULES.format(root=f"muster/1/{fleet_id}"))
    restart(foreign)
    with start_controller(data, *options) as controller:
        join(tmp_path / "device", new_token(controller)["broker_link"], "far")
        with start_agent(tmp_path / "device", "--link", url):
            eventually(lambda: device(controller, "far").get("presence") == "online", "the device comes online")
            before = (data / "broker" / "crl.pem").read_bytes()
            remove(controller, "far")
            eventually(lambda: (data / "broker" / "crl.pem").read_bytes() != before, "his list of revocations grows")


def restart(broker: MosquittoBroker) -> None:
    broker.kill()
    eventually(broker.answers, "the broker is back")


def test_no_broker_at_the_address_ends_with_6(tmp_path: Path, no_device_controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
    options = ("--no-device", "--data", str(tmp_path / "data"), "--mqtt", f"mqtts://127.0.0.1:{port}")
    ended = no_device_controller.muster("up", *PORTS, *options)
    assert ended.returncode == 6, ended.stderr
    assert ended.stderr.count("\n") == 1
