"""A real emulator on this machine, or a skip with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muster_devices.emulation import Emulator, start_emulation
from muster_devices.profiles import load_profile


@pytest.fixture
def emulate(tmp_path: Path) -> Iterator[Callable[[str], Emulator]]:
    """Start an emulation with a CPU quota; it is closed after the test."""
    started: list[Emulator] = []

    def start(profile: str) -> Emulator:
        emulator = start_emulation(load_profile(profile), "test-device", str(tmp_path))
        started.append(emulator)
        if emulator.describe().how[0].startswith("declared"):
            pytest.skip("no CPU control group is ours to divide on this machine")
        return emulator

    yield start
    for emulator in started:
        emulator.close()
