"""Which device certificates were issued and may still be good, and which of them are revoked.

A revocation list names serial numbers, and a device that renews has had several: all of them must be known. One line of
JSON per fact, appended and on disk before it counts: ``["issued", id, serial, end]`` or ``["revoked", id, at]``, where
the latter means everything that was issued to the device before. Times are in s since 1970.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from muster_devices.durable import replace_file, sync
from muster_protos.errors import PermanentError

_COMPACT_LINES = 1024  # more than those that may still be good


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """One certificate of a device."""

    device_id: str
    serial: int
    ends_s: int
    revoked_s: int | None = None


class CertificateLedger:
    """Thread-safe. Without a path it remembers as long as it lives."""

    def __init__(self, path: Path | None = None, now_s: int = 0) -> None:
        """Raises:
        PermanentError: the file cannot be read or is damaged before its last line.
        """
        self._path = path
        self._lock = threading.Lock()
        self._certificates: list[IssuedCertificate] = []
        self._lines = 0
        self._compact_above = _COMPACT_LINES
        if path is not None:
            self._read(path)
            if self._lines > _COMPACT_LINES:
                self._compact(now_s)

    @property
    def count(self) -> int:
        """How many certificates it remembers."""
        with self._lock:
            return len(self._certificates)

    def issued(self, device_id: str, serial: int, ends_s: int, now_s: int) -> None:
        """Remember a certificate before it is handed out; forget now and then what ended before ``now_s``.

        Raises:
            PermanentError: the file cannot be written; nothing is remembered, and the file is as it was.
        """
        with self._lock:
            if self._lines > self._compact_above:
                self._compact(now_s)
            self._append(["issued", device_id, format(serial, "x"), ends_s])
            self._certificates.append(IssuedCertificate(device_id, serial, ends_s))

    def revoke(self, device_id: str, now_s: int) -> None:
        """Revoke everything that was issued to the device so far. Raises as ``issued``."""
        with self._lock:
            self._append(["revoked", device_id, now_s])
            self._apply_revocation(device_id, now_s)

    def revoked(self, now_s: int) -> tuple[IssuedCertificate, ...]:
        """Revoked and not expired yet."""
        with self._lock:
            return tuple(c for c in self._certificates if c.revoked_s is not None and c.ends_s > now_s)

    def _apply_revocation(self, device_id: str, at_s: int) -> None:
        self._certificates = [
            replace(c, revoked_s=at_s) if c.device_id == device_id and c.revoked_s is None else c
            for c in self._certificates
        ]

    def _append(self, fact: list[object]) -> None:
        if self._path is None:
            self._lines += 1
            return
        try:
            is_new = not self._path.exists()
            _append_line(self._path, json.dumps(fact).encode() + b"\n")
            if is_new:
                sync(self._path.parent)
        except OSError as error:
            raise PermanentError(f"expected to write {self._path}, found: {error.strerror}") from error
        self._lines += 1

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise PermanentError(f"expected to read {path}, found: {error.strerror}") from error
        whole, _, torn = content.rpartition(b"\n")
        if torn:  # a crash while it was written: that certificate was never handed out
            self._cut(path, len(whole) + 1 if whole else 0)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, IndexError) as error:
                raise PermanentError(f"expected a fact in line {number} of {path}, found damage; restore it") from error
        self._lines = len(whole.splitlines())

    def _take(self, fact: list[object]) -> None:
        kind, device_id = fact[0], str(fact[1])
        if kind == "issued":
            self._certificates.append(IssuedCertificate(device_id, int(str(fact[2]), 16), int(str(fact[3]))))
        elif kind == "revoked":
            self._apply_revocation(device_id, int(str(fact[2])))
        else:
            raise ValueError(kind)

    def _cut(self, path: Path, size_bytes: int) -> None:
        try:
            os.truncate(path, size_bytes)
        except OSError as error:
            raise PermanentError(f"expected to write {path}, found: {error.strerror}") from error

    def _compact(self, now_s: int) -> None:
        """Leave out what has expired. Order matters: a revocation concerns what was issued before it."""
        kept = [c for c in self._certificates if c.ends_s > now_s]
        facts: list[list[object]] = []
        for c in (c for c in kept if c.revoked_s is not None):
            facts.append(["issued", c.device_id, format(c.serial, "x"), c.ends_s])
        facts += [["revoked", name, at] for name, at in dict.fromkeys((c.device_id, c.revoked_s) for c in kept) if at]
        for c in (c for c in kept if c.revoked_s is None):
            facts.append(["issued", c.device_id, format(c.serial, "x"), c.ends_s])
        if self._path is not None:
            try:
                replace_file(self._path, b"".join(json.dumps(fact).encode() + b"\n" for fact in facts))
            except OSError as error:
                raise PermanentError(f"expected to write {self._path}, found: {error.strerror}") from error
        self._certificates, self._lines = kept, len(facts)
        self._compact_above = len(facts) + _COMPACT_LINES


def _append_line(path: Path, line: bytes) -> None:
    """Whole or not at all: what a full disk took of it is cut off again, so that nothing is ever written behind it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size_bytes = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size_bytes)
            raise
    finally:
        os.close(descriptor)
