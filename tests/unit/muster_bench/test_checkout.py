"""Which commit a record names, from trees as git leaves them."""

from pathlib import Path

import pytest

from muster_bench.checkout import checkout_commit

_A, _B = "a1" * 20, "b2" * 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with a repository; the package's folder is devices/muster_bench."""
    (tmp_path / "protos" / "muster_protos").mkdir(parents=True)
    (tmp_path / "devices" / "muster_bench").mkdir(parents=True)
    _write(tmp_path / ".git" / "HEAD", "ref: refs/heads/main\n")
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _found(tree: Path) -> str:
    return checkout_commit(tree / "devices" / "muster_bench")


def test_a_branch_is_followed_to_its_commit(tree):
    _write(tree / ".git/refs/heads/main", f"{_A}\n")
    assert _found(tree) == _A


def test_a_packed_branch_is_found_and_a_loose_one_wins(tree):
    _write(tree / ".git/packed-refs", f"# pack-refs with: peeled\n{_B} refs/heads/mainline\n{_A} refs/heads/main\n")
    assert _found(tree) == _A
    _write(tree / ".git/refs/heads/main", f"{_B}\n")
    assert _found(tree) == _B


def test_a_detached_head_is_its_own_commit(tree):
    _write(tree / ".git/HEAD", f"{_B}\n")
    assert _found(tree) == _B


def test_a_linked_work_tree_is_followed_to_the_repository(tree, tmp_path):
    repository = tmp_path / "elsewhere" / ".git"
    _write(repository / "worktrees/w/HEAD", "ref: refs/heads/topic\n")
    _write(repository / "worktrees/w/commondir", "../..\n")
    _write(repository / "refs/heads/topic", f"{_A}\n")
    (tree / ".git/HEAD").unlink()
    (tree / ".git").rmdir()
    _write(tree / ".git", f"gitdir: {repository / 'worktrees/w'}\n")
    assert _found(tree) == _A


@pytest.mark.parametrize("head", ["", "ref: refs/heads/gone\n", "no commit\n"])
def test_what_cannot_be_resolved_is_empty(tree, head):
    _write(tree / ".git/HEAD", head)
    assert _found(tree) == ""


def test_an_installed_package_has_no_commit_even_inside_a_repository(tree):
    _write(tree / ".git/refs/heads/main", f"{_A}\n")
    assert checkout_commit(tree / "vendor" / "muster_bench") == ""
    assert checkout_commit(tree / "devices" / "other" / "muster_bench") == ""
    (tree / "protos" / "muster_protos").rmdir()
    assert _found(tree) == ""
