"""The LiteRT adapter's contract test with its predecessor, ``tflite-runtime``, in an environment with numpy 1.

The last ``tflite-runtime`` (2.14) has wheels for Python 3.9 to 3.11 and was built against numpy 1. ``make test-tflite``
runs this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRACT = ROOT / "tests" / "contract" / "muster_bench" / "test_session.py"
FEWEST = 15  # tests of the contract; more may come
NEEDED = ("numpy<2", "onnx", "psutil", "pytest", "pytest-timeout", "tflite-runtime==2.14.*")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_the_contract_of_runtimes_holds_for_tflite_runtime(
    version: str, wheel: Path, find_python: Callable[[str], str], install, files: Path, tmp_path: Path
) -> None:
    environment = install(find_python(version), str(wheel), *NEEDED)
    packages = environment.packages()
    assert "ai-edge-litert" not in packages
    assert packages["numpy"].startswith("1.")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    options = ("-c", str(tmp_path / "pytest.ini"), "--noconftest", "--import-mode=importlib", "-p", "no:cacheprovider")
    said = environment.run("python", "-m", "pytest", *options, "-k", "litert", "-q", str(CONTRACT))
    outcome = re.search(r"(\d+) passed, \d+ deselected in", said)  # nothing failed, nothing was left out
    assert outcome, said
    assert int(outcome[1]) >= FEWEST, said

    probe = json.loads(environment.run("muster-agent", "probe", "-o", "json"))
    (litert,) = [runtime for runtime in probe["runtimes"] if runtime["name"] == "litert"]
    assert (litert["unavailable_reason"], litert["version"]) == ("", packages["tflite-runtime"])
    print(f"\nPython {version}: tflite-runtime {packages['tflite-runtime']}, numpy {packages['numpy']}: {said.strip()}")
