"""The agent's state folder: where it is, that it is ours alone, and that one agent uses it at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from muster_devices.durable import make_folder
from muster_protos.errors import ConflictError, PermanentError

_TAKES_NOTHING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


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
        """In the folder; on a read-only file system in one of our own below the temporary folder."""
        return (self.spare() if is_read_only(self.root) else self.root) / "serving.sock"

    @property
    def lock(self) -> Path:
        return self.root / "agent.lock"

    def create(self) -> None:
        """Make the folder, readable by its owner only.

        Raises:
            PermanentError: it cannot be made.
        """
        try:
            make_folder(self.root, 0o700)
            if self.root.stat().st_mode & 0o777 != 0o700:
                self.root.chmod(0o700)
        except OSError as error:
            if error.errno in _TAKES_NOTHING and self.root.is_dir():
                return  # what lies there can still be served
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
        descriptor = self._open_lock()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise ConflictError(
                    f"expected a free state folder, found another agent (pid {holder}) on {self.root}; "
                    "stop it or choose another folder with --state DIR"
                ) from error
            with suppress(OSError):  # a disk that takes nothing: the lock holds all the same
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> str | None:
        """Who holds the folder: a process id, "" when a disk that takes nothing kept none; None when nobody does."""
        path = self.lock if self.lock.exists() else self.root
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip() if path == self.lock else ""
            return text if text.isdecimal() and Path("/proc", text).exists() else ""
        finally:
            os.close(descriptor)
        return None

    def _open_lock(self) -> int:
        """The lock file; the folder itself where the disk takes no such file."""
        try:
            return os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _TAKES_NOTHING:
                raise PermanentError(f"expected to write {self.lock}, found: {error.strerror}") from error
        try:
            return os.open(self.lock if self.lock.exists() else self.root, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PermanentError(f"expected to read {self.lock}, found: {error.strerror}") from error

    def spare(self) -> Path:
        """A private folder of our own below the temporary folder, for what cannot lie in the state folder.

        Raises:
            PermanentError: something of somebody else has its name.
        """
        folder = self._spare_path()
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermanentError(f"expected a private folder of our own at {folder}, found another; remove it")
        return folder

    def note_folders(self) -> tuple[Path, ...]:
        """Where the running agent may have left a note; makes none."""
        if self._spare_path().exists():
            with suppress(OSError, PermanentError):
                return (self.root, self.spare())
        return (self.root,)

    def _spare_path(self) -> Path:
        import tempfile  # hardly ever needed, and it loads much

        name = f"muster-agent-{os.getuid()}-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]}"
        return Path(tempfile.gettempdir()) / name


def is_read_only(folder: Path) -> bool:
    """Whether the file system takes no writes."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def state_folder(chosen: Path | None) -> StateFolder:
    """Flag, else ``MUSTER_STATE``, else ``$XDG_STATE_HOME/muster-agent`` or ``~/.local/state/muster-agent``."""
    if chosen is None and os.environ.get("MUSTER_STATE"):
        chosen = Path(os.environ["MUSTER_STATE"])
    if chosen is None:
        base = os.environ.get("XDG_STATE_HOME", "")
        chosen = (Path(base) if base else Path.home() / ".local" / "state") / "muster-agent"
    return StateFolder(chosen.expanduser().absolute())
