from __future__ import annotations

import sys
from pathlib import Path

from muster_controller.adapters.broker_mosquitto.process import Patience, SupervisedProcess


def test_child_is_kept_where_its_number_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "child.pid").mkdir()
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    process = SupervisedProcess(command, tmp_path / "child.out", lambda: None, Patience(first_delay_s=0.01))
    for _ in range(2):
        process.start(lambda: process.pid is not None)
        try:
            assert (process.starts, process.problem) == (1, "")
        finally:
            process.stop()
        assert process.pid is None
