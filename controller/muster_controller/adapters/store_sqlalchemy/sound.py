"""Look at the fleet's database before anything is written to it: a damaged one is left as it is, for people to mend."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from muster_protos.errors import PermanentError

_HEADER = b"SQLite format 3\0"


def check_sound(path: Path, is_expected: bool) -> None:
    """Return when ``path`` may be opened: a sound database, or none where none is expected (a fleet's first start).

    Raises:
        PermanentError: it is damaged, or missing where a fleet has been; nothing was changed.
    """
    size_bytes = path.stat().st_size if path.exists() else 0
    if size_bytes == 0:
        if is_expected:
            raise _unsound(path, "nothing in it" if path.exists() else "no such file")
        return
    with path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise _unsound(path, "something that is no SQLite database")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "malformed" not in str(error):
            return  # locked, or a full disk: opening it tells
        verdict = str(error)
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise _unsound(path, f"damage ({str(verdict).splitlines()[0][:120]})")


def _unsound(path: Path, found: str) -> PermanentError:
    return PermanentError(
        f"expected the fleet's store at {path}, found {found}; nothing was changed. Move it away and restore the last "
        "backup: muster import FILE; devices serve on meanwhile"
    )
