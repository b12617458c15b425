"""A controller on a disk that is full answers what it can, says what is wrong, loses nothing, and recovers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import muster
from muster_protos.errors import TemporaryError

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of 24 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "muster-test", str(folder)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_refuses_what_it_cannot_keep_and_keeps_what_it_took(small_disk, start_controller) -> None:
    with start_controller(small_disk, "--no-device") as controller, muster.connect(data=small_disk) as fleet:
        fill(small_disk)
        taken: list[str] = []

        def take_all() -> None:
            for _ in range(5000):  # the store's log has some room left
                taken.append(fleet.new_token()["token"]["token_id"])

        with pytest.raises(TemporaryError, match="full"):
            take_all()
        known = {token["token_id"] for token in fleet.tokens()}
        assert set(taken) <= known, "what was acknowledged is there"
        assert fleet.status()["devices"] == 0
        assert controller.process.poll() is None
        doctor = controller.muster("doctor")
        assert doctor.returncode == 1
        assert "0.0 GiB free" in doctor.stdout + doctor.stderr

        (small_disk / "filler").unlink()
        later = fleet.new_token()["token"]["token_id"]
        known = {token["token_id"] for token in fleet.tokens()}
        assert {*taken, later} <= known
        assert (small_disk / "up.log").read_text().count("Traceback") == 0
