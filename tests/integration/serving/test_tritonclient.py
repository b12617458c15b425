"""A foreign implementation of the Open Inference Protocol against the serving child, over both transports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from muster_agent.serving_process import LocalListener, ServingProcess
from muster_protos.model import LocalReady, LocalVariant

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def triton_python() -> Path:
    """The Python of .venv-triton; a test that cannot make it fails rather than skips."""
    made = subprocess.run(
        [ROOT / "scripts" / "make_triton_venv.sh"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return ROOT / ".venv-triton" / "bin" / "python"


def probe(python: Path, transport: str, port: int, variant: LocalVariant) -> dict[str, Any]:
    script = Path(__file__).with_name("triton_probe.py")
    command = [python, script, transport, f"127.0.0.1:{port}", variant.golden_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_tritonclient_infers_and_is_refused_clearly(
    transport: str,
    triton_python: Path,
    serving: ServingProcess,
    ready: LocalReady,
    wide: LocalVariant,
) -> None:
    port = ready.http_port if transport == "http" else ready.grpc_port
    found = probe(triton_python, transport, port, wide)
    assert (found["live"], found["ready"], found["model"], found["server"]) == (True, True, True, "muster")
    assert found["inputs"] == [["x", "FP32", [-1, 64]]]
    assert found["max_abs_error"] < 1e-4
    assert found["variants"] == ["net.v1.wide"]
    dtype, shape, name = found["refusals"]
    bad = "400" if transport == "http" else "StatusCode.INVALID_ARGUMENT"
    assert dtype == [bad, "input 'x': expected datatype FP32, found 'FP64'"]
    assert shape == [bad, "input 'x': expected shape [-1, 64], found [1, 63]"]
    assert name == [bad, "expected the inputs x, found 'z'"]


def test_listening_is_the_same_process_for_both(
    listener: LocalListener, serving: ServingProcess, ready: LocalReady
) -> None:
    assert [peer.pid for peer in listener.peers("net")] == [serving.pid]
    assert ready.http_port != ready.grpc_port
