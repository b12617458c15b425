"""Find the data that a user named."""

from __future__ import annotations

import difflib
from pathlib import Path

from muster_compression.dataset.npz import load_npz
from muster_compression.dataset.splits import DataSet
from muster_compression.sources.kind import split_torch
from muster_protos.errors import NotFoundError

BUILTIN = "builtin:"


def load_data(text: str) -> DataSet:
    """``builtin:digits``, the path of an npz file or ``file.py:function`` (which runs that code).

    Raises:
        NotFoundError: there is no such data set, file or function.
        MissingExtraError: the built-in set needs scikit-learn.
        InvalidInputError: the file, or what the function returns, is not what it should be.
    """
    if (named := split_torch(text)) is not None:
        from muster_compression.dataset.factory import load_factory

        return load_factory(*named)
    if not text.startswith(BUILTIN):
        return load_npz(Path(text))
    check_builtin(text.removeprefix(BUILTIN))
    from muster_compression.digits.data import digits

    return digits()


def check_builtin(name: str) -> None:
    """NotFoundError when no data set of this name ships with the package."""
    if name == "digits":
        return
    near = difflib.get_close_matches(name, ["digits"], 1)
    hint = ", did you mean it?" if near else ""
    raise NotFoundError(f"no built-in data {name[:80]!r}; there is builtin:digits{hint}")
