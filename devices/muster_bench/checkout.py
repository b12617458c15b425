"""The git commit of the source tree that this code runs from, read from git's own files: no git is started."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")  # SHA-1 or SHA-256
_GITDIR, _REF = "gitdir:", "ref:"


def checkout_commit(package: Path = Path(__file__).parent) -> str:
    """The commit that is checked out around ``package``; "" for an installed wheel, which has no repository.

    Only a checkout of this very project counts, where the package lies in ``devices``: not the repository of somebody
    who has installed Muster into a folder of it. Changes that are not committed do not show.
    """
    root = package.parent.parent
    if package.parent.name != "devices" or not (root / "protos" / "muster_protos").is_dir():
        return ""
    try:
        git = _git_folder(root)
        head = (git / "HEAD").read_text("ascii").strip()
        name = head.removeprefix(_REF).strip() if head.startswith(_REF) else ""
        commit = _resolved(git, name) if name else head
    except (OSError, UnicodeDecodeError):
        return ""
    return commit if _COMMIT.fullmatch(commit) else ""


def _git_folder(root: Path) -> Path:
    """``.git``, or the folder that the file ``.git`` of a linked work tree names."""
    git = root / ".git"
    if git.is_dir():
        return git
    return root / git.read_text("utf-8").strip().removeprefix(_GITDIR).strip()


def _resolved(git: Path, name: str) -> str:
    """The commit of a branch: a file of its own, or a line of packed-refs; both lie in the main repository's folder."""
    common = git / (git / "commondir").read_text("utf-8").strip() if (git / "commondir").is_file() else git
    if (common / name).is_file():
        return (common / name).read_text("ascii").strip()
    for line in (common / "packed-refs").read_text("utf-8").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return ""
