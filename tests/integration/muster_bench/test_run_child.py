"""The conversation with children that misbehave in every way that a child can."""

import os
import threading
import time

import pytest

from muster_bench.converse import run_child
from muster_bench.errors import ChildError, StoppedError
from muster_bench.limits import MIB, ChildLimits

LIMITS = ChildLimits(wall_s=20.0)
ANSWER = """
import json, os, sys
spec = json.loads(sys.stdin.buffer.read())
def send(message):
    os.write(spec["result_fd"], json.dumps(message).encode() + b"\\n")
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Run a child whose code is given."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def run(code, limits=LIMITS, **more):
        (tmp_path / "odd_child.py").write_text(ANSWER + code)
        return run_child("odd", {"value": 7}, limits, module="odd_child", **more)

    return run


def test_the_result_comes_back_with_its_messages(child):
    heard = []
    result = child(
        'send({"stage": "working"}); send({"progress": {"done": 0.5}}); send({"result": {"twice": spec["value"] * 2}})',
        on_message=heard.append,
    )
    assert result == {"twice": 14}
    assert heard[:2] == [{"stage": "working"}, {"progress": {"done": 0.5}}]


def test_a_result_does_not_count_when_the_child_dies_by_a_signal_after_it(child):
    with pytest.raises(ChildError, match="killed by SIGSEGV while ending after it had answered") as caught:
        child('send({"result": {"fine": True}}); os.kill(os.getpid(), 11)')
    assert caught.value.signal_name == "SIGSEGV"


def test_a_result_does_not_count_when_the_exit_status_is_not_0(child):
    with pytest.raises(ChildError, match="exit status 3"):
        child('send({"result": {"fine": True}}); sys.exit(3)')


def test_a_crash_names_signal_stage_and_the_last_words(child):
    with pytest.raises(ChildError, match="killed by SIGABRT while loading; it said: free: invalid pointer"):
        child(
            'send({"stage": "loading"})\n'
            'print("first\\nfree: invalid pointer\\nINFO: noise", file=sys.stderr, flush=True)\n'
            "os.abort()"
        )


def test_an_error_that_the_child_reports_is_its_reason(child):
    with pytest.raises(ChildError, match="no such operator") as caught:
        child('send({"error": {"kind": "NotExecutableError", "message": "no such operator"}}); sys.exit(1)')
    assert caught.value.kind == "NotExecutableError"


def test_an_exception_is_reported_by_its_last_line(child):
    with pytest.raises(ChildError, match="ended with exit status 1 while starting; it said: ValueError: odd"):
        child('raise ValueError("odd")')


def test_silence_and_rubbish_are_no_result(child):
    with pytest.raises(ChildError, match="exit status 0 while starting"):
        child("")
    with pytest.raises(ChildError, match="not JSON"):
        child('os.write(spec["result_fd"], b"{{{\\n")')


def test_a_child_that_hangs_is_killed_with_all_its_children(child):
    heard = []
    with pytest.raises(ChildError, match=r"did not end within 2 s \(while hanging\) and was killed"):
        child(
            "import subprocess, threading\n"
            "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            'send({"stage": "hanging"}); send({"fact": grandchild.pid}); threading.Event().wait()',
            ChildLimits(wall_s=2.0),
            on_message=heard.append,
        )
    grandchild = heard[-1]["fact"]
    wait_until(lambda: is_gone(grandchild))


def test_a_stop_ends_it_at_once(child):
    stop = threading.Event()
    started = time.monotonic()
    with pytest.raises(StoppedError, match="stopped while busy"):
        child('send({"stage": "busy"})\nwhile True: pass', on_message=lambda _: stop.set(), stop=stop)
    assert time.monotonic() - started < 10


def test_memory_beyond_the_limit_is_an_error_of_the_child_alone(child):
    with pytest.raises(ChildError, match="MemoryError"):
        child("bytearray(1 << 30)", ChildLimits(wall_s=20.0, memory_bytes=256 * MIB))


def test_cpu_time_beyond_the_limit_ends_it(child):
    with pytest.raises(ChildError, match=r"killed by SIG(XCPU|KILL)"):
        child("while True: pass", ChildLimits(wall_s=20.0, cpu_s=1))


def test_it_inherits_no_descriptor_but_its_pipes(child):
    own = os.open("/", os.O_RDONLY)
    os.set_inheritable(own, True)
    try:
        found = child(
            'kept = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]\n'
            "open_now = [fd for fd in kept if os.path.exists(f'/proc/self/fd/{fd}')]\n"
            'send({"result": {"fds": open_now, "result_fd": spec["result_fd"]}})'
        )
    finally:
        os.close(own)
    assert found["fds"] == [found["result_fd"]]


def test_it_leads_a_session_of_its_own_and_hears_of_its_parents_end(child):
    found = child(
        "import ctypes\n"
        "signal_number = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(signal_number), 0, 0, 0)\n"
        "leads = os.getsid(0) == os.getpid()\n"
        'send({"result": {"leads": leads, "death_signal": signal_number.value, "cwd": os.getcwd()}})'
    )
    assert found == {"leads": True, "death_signal": 9, "cwd": "/"}


def test_a_flood_of_words_is_cut_and_harms_nobody(child):
    assert child('sys.stderr.write("x" * 5_000_000); send({"result": {}})') == {}


def test_the_process_id_is_told_before_the_child_is_told_what_to_do(child):
    told = []
    found = child('send({"result": {"pid": os.getpid()}})', on_spawn=told.append)
    assert told == [found["pid"]]


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().split()[2] == "Z"


def wait_until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    event = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        event.wait(0.01)
