"""The agent's state folder: where it is, that it is ours alone, and that one agent uses it at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from muster_protos.errors import ConflictError, PermanentError


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths below one root."""

    root: Path

    @property
    def identity(self) -> Path:
        return self.root / "identity"

    @property
    def database(self) -> Path:
        return self.root / "agent.sqlite3"

    @property
    def runtimes(self) -> Path:
        """What the last proof of the runtimes found."""
        return self.root / "runtimes.proof"

    @property
    def socket(self) -> Path:
        return self.root / "serving.sock"

    @property
    def lock(self) -> Path:
        return self.root / "agent.lock"

    def create(self) -> None:
        """Make the folder, readable by its owner only.

        Raises:
            PermanentError: it cannot be made.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            raise PermanentError(
                f"expected a state folder that can be written at {self.root}, found: {error.strerror}; "
                "choose another with --state DIR"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the kernel lets go of it when the process dies.

        Raises:
            ConflictError: another agent uses it.
        """
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermanentError(f"expected to write {self.lock}, found: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise ConflictError(
                    f"expected a free state folder, found another agent (pid {holder}) on {self.root}; "
                    "stop it or choose another folder with --state DIR"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def state_folder(chosen: Path | None) -> StateFolder:
    """Flag, else ``MUSTER_STATE``, else ``$XDG_STATE_HOME/muster-agent`` or ``~/.local/state/muster-agent``."""
    if chosen is None and os.environ.get("MUSTER_STATE"):
        chosen = Path(os.environ["MUSTER_STATE"])
    if chosen is None:
        base = os.environ.get("XDG_STATE_HOME", "")
        chosen = (Path(base) if base else Path.home() / ".local" / "state") / "muster-agent"
    return StateFolder(chosen.expanduser().absolute())
