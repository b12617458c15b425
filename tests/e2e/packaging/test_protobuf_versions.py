"""The committed stubs import, and the codec round-trips, under the oldest and the newest protobuf runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
import google.protobuf, grpc
from muster_protos import codec
from muster_protos.inference import open_inference_pb2_grpc
from muster_protos.model import AgentMessage, Hello, Inventory, RuntimeSupport
from muster_protos.v1 import link_pb2_grpc
message = AgentMessage(Hello(Inventory(device_id="a", ram_bytes=1, runtimes=(RuntimeSupport(name="litert"),)), 1, 2))
assert codec.decode(AgentMessage, codec.encode(message)) == message
print(google.protobuf.__version__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5.29", "7"])
def test_stubs_and_codec_work_under_protobuf(version: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    wanted = f"protobuf=={version}.*"
    subprocess.run([python, "-m", "pip", "install", "-q", wanted, "grpcio"], check=True, capture_output=True)
    done = subprocess.run(
        [python, "-W", "error", "-c", SCRIPT],
        env={"PYTHONPATH": str(ROOT / "protos"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(version)
