"""Arrows between rooms, and what a lean agent may load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_HEAVY = (
    "ai_edge_litert",
    "cryptography",
    "fastapi",
    "grpc",
    "httpx",
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "rich",
    "sqlalchemy",
    "torch",
    "typer",
    "uvicorn",
    "yaml",
)
# Modules that run in a child of the agent, or are loaded only when their link is chosen.
_OUTSIDE_THE_DAEMON = (
    "muster_agent.adapters.link_grpc",
    "muster_agent.keys",
    "muster_agent.load",
    "muster_agent.serving",
    "muster_agent.verify",
)


def test_import_rules_hold(repository):
    command = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([command, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-4000:]


def test_every_module_of_the_agents_own_process_imports_light(repository):
    names = [
        name
        for name in _modules(repository / "agent", "muster_agent")
        if not any(name == other or name.startswith(f"{other}.") for other in _OUTSIDE_THE_DAEMON)
    ]
    assert "muster_agent.daemon" in names
    assert _loaded_with(names) == []


def test_an_agent_on_mqtt_has_no_event_loop():
    code = "import sys, muster_agent.adapters.link_mqtt, muster_agent.cli.run; print('asyncio' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_an_agent_on_grpc_loads_nothing_that_only_joins_renewals_and_help_texts_need(tmp_path):
    code = f"""
import sys
from pathlib import Path
from muster_agent.cli.main import build_parser
from muster_agent.cli.run import make_link
from muster_agent.identity_folder import Identity, IdentityFolder

build_parser().parse_args(["run"])
folder = IdentityFolder(Path({str(tmp_path)!r}))
folder.write(Identity("fleet", "pi-1", b"", b"", (), ()))
folder.key_path.touch()
make_link("grpcs://127.0.0.1:1", folder)
listed = ("asyncio", "bz2", "http", "lzma", "shutil", "ssl", "tempfile", "uuid")
print(*(name for name in listed if name in sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-4000:]
    assert found.stdout.split() == ["asyncio"]


def test_the_devices_room_imports_light(repository):
    """But for the patience of whoever opens an HTTP port."""
    names = [name for name in _modules(repository / "devices", "muster_devices") if not name.endswith("http_patience")]
    assert _loaded_with(names) == []


def test_the_contract_needs_protobuf_only(repository):
    """But for what belongs to one transport: gRPC's stubs."""
    names = [name for name in _modules(repository / "protos", "muster_protos") if not name.endswith("_pb2_grpc")]
    assert _loaded_with(names) == []


@pytest.mark.parametrize(
    "package", ["muster", "muster_agent", "muster_bench", "muster_compression", "muster_controller"]
)
def test_a_packages_name_alone_loads_nothing(package):
    assert _loaded_with([package]) == []


def test_the_check_itself_can_fail():
    assert _loaded_with(["numpy"]) == ["numpy"]


def _modules(root: Path, package: str) -> list[str]:
    names = []
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def _loaded_with(names: list[str]) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after importing ``names``."""
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print(*(name for name in {_HEAVY} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-4000:]
    return found.stdout.split()
