"""The shape of the tree: nothing of ours may shadow the standard library, every package says that it is typed."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ROOTS = {
    "api": ("muster",),
    "agent": ("muster_agent",),
    "controller": ("muster_controller",),
    "compression": ("muster_compression",),
    "devices": ("muster_bench", "muster_devices"),
    "protos": ("muster_protos",),
}


@pytest.mark.parametrize("folder", [*_ROOTS, "tests", "docs", "examples", "benchmarks", "scripts"])
def test_a_top_folder_is_no_package(repository, folder):
    assert (repository / folder).is_dir()
    assert not (repository / folder / "__init__.py").exists()


def test_the_standard_librarys_compression_survives(repository, tmp_path):
    """Python 3.14 has a package ``compression``. Ours is a plain folder, and any real package wins over that.

    Older Pythons lack it, so a stand-in takes its place at the end of the path, behind the repository.
    """
    stand_in = tmp_path / "compression"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text("ORIGIN = 'standard library'\n")
    path = [str(repository), *([] if sys.version_info >= (3, 14) else [str(tmp_path)])]
    code = f"import sys; sys.path[:0] = {path}; import compression; print(compression.__file__)"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not found.stdout.startswith(str(repository))
    assert found.stdout.strip().endswith("__init__.py")


@pytest.mark.parametrize("package", [f"{folder}/{name}" for folder, names in _ROOTS.items() for name in names])
def test_every_package_is_typed_and_says_what_it_is_for(repository, package):
    assert (repository / package / "py.typed").exists()
    assert (repository / package / "__init__.py").read_text().startswith('"""')


def test_no_file_is_called_after_nothing(repository):
    banned = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py", "manager.py"}
    found = [
        path.relative_to(repository).as_posix()
        for folder in _ROOTS
        for path in (repository / folder).rglob("*.py")
        if path.name in banned
    ]
    assert found == []


def test_the_wheel_has_every_package(repository):
    text = (repository / "pyproject.toml").read_text()
    for folder, names in _ROOTS.items():
        for name in names:
            assert f'"{folder}/{name}"' in text
