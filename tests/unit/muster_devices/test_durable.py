"""Folders and files that last: where they may lie, who may read them, what a failure leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_devices.durable import make_folder, remove_leftovers, replace_file

NOBODY = 65534


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """One that its user may enter and not list, on a path that everybody may walk."""
    folder = Path(tempfile.mkdtemp())
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o300)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_folder_may_lie_in_one_that_cannot_be_listed(closed_folder: Path) -> None:
    """As in a home that systemd or an administrator has closed. Root may list everything, so it becomes somebody."""
    code = f"""
import os
from pathlib import Path
from muster_devices.durable import make_folder
if os.getuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for _ in range(2):
    make_folder(Path({str(closed_folder)!r}) / "state", 0o700)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert (closed_folder / "state").stat().st_mode & 0o777 == 0o700


def test_parents_are_made_too(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", 0o700)
    assert (tmp_path / "a" / "b").is_dir()


def test_file_is_replaced_whole_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for content in (b"one", b"another"):
        replace_file(path, content)
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_cannot_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_process_are_removed_and_no_other_files(tmp_path: Path) -> None:
    for name in (".key.pem.0123456789ab", "key.pem", ".other.0123456789ab"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "key.pem")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0123456789ab", "key.pem"]
