from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from muster_agent.version import agent_version


def test_version_is_the_installed_one() -> None:
    assert agent_version() == version("muster-edge")


def test_first_folder_that_has_it_counts(tmp_path: Path) -> None:
    for folder, found in (("a", "1.2.3rc1"), ("b", "4.5")):
        (tmp_path / folder / f"muster_edge-{found}.dist-info").mkdir(parents=True)
    (tmp_path / "a" / "muster_edge_extra-9.dist-info").mkdir()
    folders = [str(tmp_path / name) for name in ("none", "a", "b")]
    assert agent_version(folders=folders) == "1.2.3rc1"


def test_source_tree_that_is_not_installed_says_so(tmp_path: Path) -> None:
    assert agent_version(folders=[str(tmp_path)]) == "unknown"
