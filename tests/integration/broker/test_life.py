from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.broker_mosquitto.configuration import Limits
from muster_controller.adapters.broker_mosquitto.process import Patience
from muster_controller.adapters.identity_x509 import X509Authority
from muster_protos.broker_names import CONTROLLER
from muster_protos.errors import PermanentError
from muster_protos.mqtt.visit import Visit

ROOT = "muster/1/fleet-1"
_START = """
import sys
from pathlib import Path
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import open_authority
folder = Path(sys.argv[1])
broker = MosquittoBroker(folder / "broker", open_authority(folder / "identity", "fleet-1"), "fleet-1")
broker.start()
broker.revoke("a")
print(broker.pid, broker.answers(), flush=True)
sys.stdin.read()
broker.stop()
"""


def test_retained_messages_outlive_a_restart(broker: MosquittoBroker, visit: Callable[..., Visit]) -> None:
    with visit(CONTROLLER) as controller:
        controller.publish(f"{ROOT}/a/desired", b"be so", retain=True)
    port = broker.port
    broker.stop()
    assert broker.start() == port
    with visit("a") as device:
        device.subscribe(f"{ROOT}/a/desired")
        assert device.receive(5.0) == (f"{ROOT}/a/desired", b"be so")


def test_killed_broker_comes_back_by_itself_and_says_why(broker: MosquittoBroker, visit: Callable[..., Visit]) -> None:
    with visit("a") as device:
        broker.kill()
        assert device.receive(5.0) is None
        assert device.is_over
    assert "SIGKILL" in broker.problem
    _wait_until(broker.answers)
    with visit("a"):
        pass


def test_broker_that_keeps_dying_is_given_up(tmp_path: Path, authority: X509Authority, mosquitto: str) -> None:
    patience = Patience(first_delay_s=0.01, longest_delay_s=0.01, deaths=3)
    broker = MosquittoBroker(tmp_path / "broker", authority, "fleet-1", patience=patience)
    broker.start()
    try:
        (tmp_path / "broker" / "mosquitto.conf").write_text("no such option\n")
        broker.kill()
        _wait_until(lambda: "given up" in broker.problem)
        assert "status 3" in broker.problem or "status 1" in broker.problem
    finally:
        broker.stop()


def test_taken_port_is_told_in_one_line(tmp_path: Path, authority: X509Authority, mosquitto: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = MosquittoBroker(tmp_path / "broker", authority, "fleet-1", port=taken.getsockname()[1])
        with pytest.raises(PermanentError, match="Address already in use") as caught:
            broker.start()
    assert "\n" not in str(caught.value)
    broker.stop()


def test_message_over_the_limit_reaches_nobody(tmp_path: Path, authority: X509Authority, mosquitto: str) -> None:
    broker = MosquittoBroker(tmp_path / "broker", authority, "fleet-1", limits=Limits(packet_bytes=10_000))
    broker.start()
    try:
        controller = Visit("127.0.0.1", broker.port, broker.credentials(), CONTROLLER, timeout_s=5.0)
        other = Visit("127.0.0.1", broker.port, broker.credentials("other"), "other", timeout_s=5.0)
        with controller, other:
            controller.subscribe(f"{ROOT}/#")
            with pytest.raises(Exception, match="closed"):
                other.publish(f"{ROOT}/other/up/report", b"x" * 20_000)
            with Visit("127.0.0.1", broker.port, broker.credentials("other"), "other", timeout_s=5.0) as again:
                again.publish(f"{ROOT}/other/up/report", b"short")
            assert controller.receive(5.0) == (f"{ROOT}/other/up/report", b"short")
    finally:
        broker.stop()


def test_runs_in_a_private_folder_of_this_user(tmp_path: Path, mosquitto: str) -> None:
    _start_and_stop(tmp_path, _START)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_runs_in_a_private_folder_of_a_plain_user(mosquitto: str) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no python that a plain user may start")
    nobody = pwd.getpwnam("nobody")
    become = f"""
import encodings.idna, os
os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
sys.executable = {python!r}
"""
    with tempfile.TemporaryDirectory(prefix="muster-", dir="/tmp") as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        _start_and_stop(Path(folder), _START.replace("folder = ", become + "folder = ", 1))


def _start_and_stop(folder: Path, script: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOGNAME": "", "USER": "", "LNAME": "", "USERNAME": ""},
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline().split()[1:] == ["True"]
        controller.communicate("")
    assert controller.returncode == 0
    assert (folder / "broker").stat().st_mode & 0o077 == 0
    modes = {path.name: path.stat().st_mode & 0o077 for path in (folder / "broker").iterdir()}
    assert set(modes.values()) == {0}, modes


def test_killed_controller_leaves_no_broker_behind(tmp_path: Path, mosquitto: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _START, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline().split()[0])
        assert "mosquitto" in Path(f"/proc/{pid}/cmdline").read_text()
        controller.kill()
        _wait_until(lambda: not _is_alive(pid))


def test_next_controller_waits_for_the_broker_of_a_killed_one(
    tmp_path: Path, authority: X509Authority, mosquitto: str
) -> None:
    script = _START.replace('broker.revoke("a")\n', "").replace("broker.pid", "broker.port")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        port = int(controller.stdout.readline().split()[0])
        controller.kill()
        again = MosquittoBroker(tmp_path / "broker", authority, "fleet-1", port=port)
        again.start()
    assert again.answers()
    again.stop()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """For what another process brings about."""
    tick = threading.Event()
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not come about"
        tick.wait(0.01)
