"""The agent's wheel with its extras on every Python that it promises: the whole loop against a real controller.

Over MQTT nothing of gRPC is installed at all. ``make test-wheels`` runs this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = {"grpc": "grpc,ort,litert", "mqtt": "ort,litert"}
HEAVY = {"torch", "fastapi", "starlette", "pydantic", "sqlalchemy", "alembic", "onnx", "typer", "rich", "httpx"}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fleet(today, fleet_at, files: Path, tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator:
    with fleet_at(today, tmp_path_factory.mktemp("fleet") / "data", "--mqtt") as running:
        running.add(files / "model.onnx", "linear", "--data", str(files / "data.npz"))
        running.add(files / "null.tflite", "null")
        yield running


@pytest.mark.parametrize("link", ["grpc", "mqtt"])
@pytest.mark.parametrize("version", PYTHONS)
def test_agent_wheel_goes_round_the_loop(
    version: str, link: str, wheel: Path, fleet, find_python: Callable[[str], str], install, tmp_path: Path
) -> None:
    agent = install(find_python(version), f"{wheel}[{EXTRAS[link]}]")
    packages = agent.packages()
    assert HEAVY.isdisjoint(packages)
    assert ("grpcio" in packages) == (link == "grpc")
    device_id, state = f"{tmp_path.name.strip('_')}-{link}", tmp_path / "state"  # a second try is another device
    fleet.join(agent, state, device_id, link)
    with agent.agent(state, *fleet.only(link)):
        fleet.wait_online(device_id, link)
        measured = [record for model in ("linear", "null") for record in fleet.measure(model, device_id)]
        assert {record["configuration"]["runtime"] for record in measured} == {"onnxruntime", "litert"}
        serving = fleet.deploy("linear", device_id)
        assert len(fleet.ask(serving["http_port"], "linear")) == 4
        fleet.deploy("null", device_id)
    fleet.muster("device", "rm", device_id, "--yes")
    wanted = ("onnxruntime", "ai-edge-litert", "numpy", "grpcio", "paho-mqtt", "protobuf", "cryptography")
    mib = sum(path.stat().st_size for path in agent.library.rglob("*") if path.is_file()) >> 20
    print(
        f"\nPython {version}, {link}: {len(packages)} packages, {mib} MiB: "
        + ", ".join(f"{name} {packages.get(name, 'none')}" for name in wanted)
    )
