"""The base wheel is the lean agent: it installs and runs in an empty environment without the host's heavy packages.

Where there is no Python 3.10 that case is skipped, and a CI run says so at its end. The syntax and the names of all
code on devices are held to 3.10 everywhere, by ``tests/architecture/test_python_310.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {"torch", "fastapi", "pydantic", "sqlalchemy", "grpcio", "numpy", "onnxruntime", "typer", "rich"}
YOUNGER = [pytest.param(version, marks=pytest.mark.faults) for version in ("3.11", "3.12", "3.13")]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", *YOUNGER])
def test_base_wheel_runs_the_agent_without_any_extra(
    version: str, wheel: Path, find_python: Callable[[str], str], install
) -> None:
    base = install(find_python(version), str(wheel))
    assert HEAVY.isdisjoint(base.packages())
    assert "muster-agent" in base.run("muster-agent", "--help")
    probe = json.loads(base.run("muster-agent", "probe", "-o", "json"))
    assert probe["cores"] >= 1
    assert all(runtime["unavailable_reason"] for runtime in probe["runtimes"])
    missing = base.run("muster", "status", expected=3)
    assert "muster-edge[controller]" in missing
    assert "Traceback" not in missing
