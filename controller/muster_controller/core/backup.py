"""What a backup of a fleet says of itself: its parts with their hashes, the versions it was made by. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from muster_protos.errors import PermanentError

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "fleet.sqlite3"
IDENTITY = "identity.sealed"

_ARTIFACT = re.compile(r"artifacts/sha256/([0-9a-f]{2})/([0-9a-f]{64})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup; names are forward-slashed and relative to the data folder."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Backup:
    """The manifest."""

    muster: str  # the version that made it
    schema: str  # revision of the store's tables
    fleet_id: str
    fleet: str
    epoch: int
    created_at: str  # ISO 8601, UTC
    has_artifacts: bool
    parts: tuple[Part, ...]
    format: int = FORMAT

    def part(self, name: str) -> Part | None:
        return next((item for item in self.parts if item.name == name), None)


def artifact_name(sha256: str) -> str:
    """Where an artifact lies, in a backup as in a data folder."""
    return f"artifacts/sha256/{sha256[:2]}/{sha256}"


def encode(backup: Backup) -> bytes:
    """The manifest's bytes; they carry their own sha256, so that no bit of them can flip unseen."""
    fields = asdict(backup)
    return json.dumps({**fields, "sha256": _digest(fields)}, indent=1, sort_keys=True).encode()


def decode(content: bytes) -> Backup:
    """Read and check a manifest.

    Raises:
        PermanentError: it is damaged, of a newer format, or names files that no backup has.
    """
    try:
        fields = json.loads(content)
        digest = fields.pop("sha256")
        if int(fields["format"]) > FORMAT:
            raise PermanentError(
                f"expected a backup of format {FORMAT} or older, found format {fields['format']}, made by muster "
                f"{fields.get('muster')}; import it with that version"
            )
        if digest != _digest(fields):
            raise ValueError("its hash is another")
        backup = _read(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PermanentError(f"expected a backup's manifest, found a damaged one ({type(error).__name__})") from error
    _check(backup)
    return backup


def bound_to(backup: Backup) -> bytes:
    """What the sealed identity is bound to: everything else in the backup.

    Who opens the seal with the passphrase knows that nothing else was exchanged.
    """
    others = [asdict(part) for part in backup.parts if part.name != IDENTITY]
    return _digest({**asdict(backup), "parts": others}).encode()


def _read(fields: Mapping[str, Any]) -> Backup:
    if len(fields["parts"]) > _MOST_PARTS:
        raise ValueError("too many parts")
    parts = tuple(Part(str(p["name"]), str(p["sha256"]), int(p["size_bytes"])) for p in fields["parts"])
    texts = {name: str(fields[name]) for name in ("muster", "schema", "fleet_id", "fleet", "created_at")}
    return Backup(
        **texts, epoch=int(fields["epoch"]), has_artifacts=bool(fields["has_artifacts"]), parts=parts, format=FORMAT
    )


def _check(backup: Backup) -> None:
    names = [part.name for part in backup.parts]
    if len(set(names)) != len(names) or STORE not in names:
        raise PermanentError(f"expected a backup with one {STORE} and every part once, found another list of parts")
    for part in backup.parts:
        if part.size_bytes < 0 or not _SHA256.fullmatch(part.sha256) or not _is_known(part):
            raise PermanentError(f"expected parts of a backup, found {part.name[:120]!r}; nothing was taken from it")


def _is_known(part: Part) -> bool:
    if part.name in (STORE, IDENTITY):
        return True
    found = _ARTIFACT.fullmatch(part.name)
    return found is not None and found[2] == part.sha256 and found[1] == part.sha256[:2]


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
