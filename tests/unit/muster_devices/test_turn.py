import subprocess
import sys
import threading

import pytest

from muster_devices.turn import take_turn, turn_path
from muster_protos.errors import TemporaryError


def test_the_turn_is_one_at_a_time(tmp_path):
    path, stop = tmp_path / "turn.lock", threading.Event()
    with (
        take_turn(stop, 1.0, path),
        pytest.raises(TemporaryError, match="kept benchmarking"),
        take_turn(stop, 0.0, path),
    ):
        pytest.fail("two turns at once")
    with take_turn(stop, 0.0, path):
        pass


def test_a_failed_run_hands_the_turn_on(tmp_path):
    path, stop = tmp_path / "turn.lock", threading.Event()
    with pytest.raises(ZeroDivisionError), take_turn(stop, 1.0, path):
        raise ZeroDivisionError
    with take_turn(stop, 0.0, path):
        pass


def test_a_stop_ends_the_waiting(tmp_path):
    path, stop = tmp_path / "turn.lock", threading.Event()
    with take_turn(threading.Event(), 1.0, path):
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(InterruptedError), take_turn(stop, 60.0, path):
            pytest.fail("two turns at once")


def test_a_stop_that_is_set_already_wins_over_a_free_turn(tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError), take_turn(stop, 1.0, tmp_path / "turn.lock"):
        pytest.fail("went on")


def test_a_link_in_the_shared_folder_is_not_followed(tmp_path):
    (tmp_path / "turn.lock").symlink_to(tmp_path / "victim")
    with (
        pytest.raises(OSError, match=r"symbolic links|File exists"),
        take_turn(threading.Event(), 1.0, tmp_path / "turn.lock"),
    ):
        pytest.fail("followed a link")
    assert not (tmp_path / "victim").exists()


def test_no_child_inherits_the_turn(tmp_path):
    code = "import os; print([os.readlink(entry) for entry in os.scandir('/proc/self/fd') if os.path.lexists(entry)])"
    with take_turn(threading.Event(), 1.0, tmp_path / "turn.lock"):
        child = subprocess.run(
            [sys.executable, "-c", code], close_fds=False, capture_output=True, text=True, check=True
        )
    assert "turn.lock" not in child.stdout


def test_all_agents_of_a_host_share_one_path_whatever_their_tmpdir(monkeypatch, tmp_path):
    before = turn_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert turn_path() == before


def test_without_a_shared_tmp_the_users_own_serves(monkeypatch, tmp_path):
    monkeypatch.setattr("muster_devices.turn.os.access", lambda *_: False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert turn_path() == tmp_path / "muster-turn.lock"
