"""Fail-points: silent in real life, logged under test, and one kill for one armed file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from muster_devices.descriptors import free_descriptors

PROGRAM = "from muster_devices.failpoint import hit\nfor number in range(5): hit('a: b')\nprint('through')"


def run(tmp_path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=kept | more, cwd=tmp_path, capture_output=True, text=True, check=False
    )


def test_nothing_happens_and_nothing_is_written_unless_asked_for(tmp_path):
    done = run(tmp_path, MUSTER_FAILPOINT_KILL=str(tmp_path / "armed"))
    assert (done.returncode, done.stdout) == (0, "through\n")
    assert list(tmp_path.iterdir()) == []


def test_hits_are_logged_by_name(tmp_path):
    assert run(tmp_path, MUSTER_FAILPOINT_LOG=str(tmp_path / "log")).returncode == 0
    assert (tmp_path / "log").read_text() == "a: b\n" * 5


def test_an_armed_point_kills_one_process_at_its_count(tmp_path):
    log, armed = tmp_path / "log", tmp_path / "armed"
    armed.write_text("a: b 3")
    settings = {"MUSTER_FAILPOINT_LOG": str(log), "MUSTER_FAILPOINT_KILL": str(armed)}
    assert run(tmp_path, **settings).returncode == -9
    assert log.read_text() == "a: b\n" * 3 + "killed a: b\n"
    assert not armed.exists()
    assert run(tmp_path, **settings).returncode == 0, "the next process lives"


def test_another_point_or_a_torn_file_kills_nobody(tmp_path):
    armed = tmp_path / "armed"
    for content in ("other: point 1", "", "a: b", "a: b x"):
        armed.write_text(content)
        settings = {"MUSTER_FAILPOINT_LOG": str(tmp_path / "log"), "MUSTER_FAILPOINT_KILL": str(armed)}
        assert run(tmp_path, **settings).returncode == 0, content


def test_free_descriptors_are_counted_under_the_soft_limit(tmp_path):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = free_descriptors()
    assert free is not None
    assert 0 < free < soft
    with (tmp_path / "one").open("w"):
        assert free_descriptors() == free - 1
    assert free_descriptors(tmp_path / "nowhere") is None
