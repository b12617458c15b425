"""No child of a real device is without a limit, and no limit is too small for a runtime or put on CUDA."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.adapters.measurer_child import ChildMeasurer
from muster_agent.cli.run import serving_options
from muster_agent.memory_share import memory_share_bytes
from muster_protos.model import Configuration

MIB = 1 << 20
CPU = Configuration("digits.v1.int8", "onnxruntime", "cpu", 2)
CUDA = Configuration("digits.v1.int8", "onnxruntime", "cuda", 2)


def device(root: Path, mib: int) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal: {mib * 1024} kB\nMemAvailable: {mib * 512} kB\n")
    return root


@pytest.mark.parametrize(("ram_mib", "share_mib"), [(4096, 3072), (1024, 768), (256, 512)])
def test_a_child_has_three_quarters_of_the_memory_but_enough_to_start(
    tmp_path: Path, ram_mib: int, share_mib: int
) -> None:
    root = device(tmp_path, ram_mib)
    assert memory_share_bytes(root) == share_mib * MIB
    assert serving_options(None, root).memory_limit_bytes == share_mib * MIB


def test_a_device_that_does_not_tell_its_memory_is_not_limited(tmp_path: Path) -> None:
    assert memory_share_bytes(tmp_path) is None


def test_a_measured_child_is_limited_in_memory_and_in_cpu_time(tmp_path: Path) -> None:
    limits = ChildMeasurer("pi", "1", root=device(tmp_path, 4096)).limits(60.0, CPU)
    assert (limits.wall_s, limits.cpu_s, limits.memory_bytes) == (60.0, 120, 6144 * MIB)


def test_cuda_reserves_freely_and_gets_cpu_time_alone(tmp_path: Path) -> None:
    root = device(tmp_path, 4096)
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text("NVRM version: 580.1")
    limits = ChildMeasurer("pc", "1", root=root).limits(60.0, CUDA)
    assert (limits.cpu_s, limits.memory_bytes) == (120, None)
    assert serving_options(None, root).memory_limit_bytes is None
