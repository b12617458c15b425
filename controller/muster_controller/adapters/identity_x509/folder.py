"""Private files: 0600 in a 0700 folder, whole or absent, made once even if two processes start together."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from muster_devices.durable import make_folder, sync
from muster_protos.errors import PermanentError

ADMIN_TOKEN = "admin-token"


def open_private_folder(folder: Path) -> Path:
    """Create ``folder`` with mode 0700, or tighten it.

    Raises:
        PermanentError: it cannot be made private (another owner, read-only disk).
    """
    try:
        make_folder(folder, 0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise PermanentError(f"expected a folder of our own at {folder}, found: {error.strerror}") from error
    return folder


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a private file; made by ``make`` when it does not exist. The first of two makers wins."""
    try:
        if not path.exists():
            _create(path, make())
        path.chmod(0o600)
        return path.read_bytes()
    except OSError as error:
        raise PermanentError(f"expected to read or create {path}, found: {error.strerror}") from error


def open_admin_token(folder: Path) -> str:
    """The bearer token of the REST interface, made on first use."""
    open_private_folder(folder)
    return read_or_create(folder / ADMIN_TOKEN, lambda: secrets.token_urlsafe(32).encode()).decode().strip()


def _create(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)  # fails when another process was first, and then its file counts
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)
    sync(path.parent)
