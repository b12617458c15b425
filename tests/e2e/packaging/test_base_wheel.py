"""The base wheel is the lean agent: it installs and runs in an empty environment without the host's heavy packages.

Where there is no Python 3.10 that case is skipped, and a CI run says so at its end. The syntax and the names of all
code on devices are held to 3.10 everywhere, by ``tests/architecture/test_python_310.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "fastapi", "pydantic", "sqlalchemy", "grpcio", "numpy", "onnxruntime", "typer", "rich"}

pytestmark = pytest.mark.slow


def find_python(version: str) -> str | None:
    """A python of this minor version: MUSTER_PYTHON_3_10, the path, or pyenv's folder."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return sys.executable
    candidates = [
        os.environ.get(f"MUSTER_PYTHON_{version.replace('.', '_')}", ""),
        *(str(path) for path in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))),
        shutil.which(f"python{version}") or "",
    ]
    for candidate in filter(None, candidates):
        probe = subprocess.run([candidate, "-c", "import ensurepip, ssl, sqlite3"], capture_output=True, check=False)
        if probe.returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)])
    return next(folder.glob("muster_edge-*.whl"))


def run(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "PYTHONPATH"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env, check=False)
    assert done.returncode == kwargs.get("expected", 0), f"{command}: {done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_base_wheel_runs_the_agent_without_any_extra(version: str, wheel: Path, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine: set MUSTER_PYTHON_{version.replace('.', '_')}")
    run([python, "-m", "venv", str(tmp_path / "venv")])
    bin_folder = tmp_path / "venv" / "bin"
    run([str(bin_folder / "pip"), "install", "-q", str(wheel)])
    listed = json.loads(run([str(bin_folder / "pip"), "list", "--format", "json"]).stdout)
    assert HEAVY.isdisjoint(row["name"].lower() for row in listed)
    run([str(bin_folder / "muster-agent"), "--help"])
    probe = json.loads(run([str(bin_folder / "muster-agent"), "probe", "-o", "json"]).stdout)
    assert probe["cores"] >= 1
    assert all(runtime["unavailable_reason"] for runtime in probe["runtimes"])
    missing = run([str(bin_folder / "muster"), "status"], expected=3)
    assert "muster-edge[controller]" in missing.stderr
    assert "Traceback" not in missing.stderr
