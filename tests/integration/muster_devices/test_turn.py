import signal
import subprocess
import sys
import threading

import pytest

from muster_devices.turn import take_turn
from muster_protos.errors import TemporaryError

_HOLD = """
import pathlib, sys, threading
from muster_devices.turn import take_turn
with take_turn(threading.Event(), 10.0, pathlib.Path(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.readline()
"""


def test_a_killed_holder_hands_the_turn_on(tmp_path):
    path = tmp_path / "turn.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(TemporaryError), take_turn(threading.Event(), 0.0, path):
            pytest.fail("two turns at once")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with take_turn(threading.Event(), 5.0, path):
        pass
