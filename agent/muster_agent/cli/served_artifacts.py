"""What of the served deployments is not on the disk any more, read from the state folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from muster_agent.adapters.serving_note import read_serving_note
from muster_agent.adapters.state_sqlite.database import open_reader
from muster_agent.adapters.state_sqlite.rows import SELECT_SERVING, record_from_row
from muster_agent.cli.state_folder import StateFolder
from muster_agent.core.known import ServingRecord
from muster_agent.core.wanted import WantedModel


@dataclass(frozen=True, slots=True)
class Missing:
    """One artifact that the target of a model needs and the disk lacks."""

    model_id: str
    sha256: str
    variant_id: str  # the first of the ladder that needs it
    is_damaged: bool  # its bytes lie in quarantine
    serves: str  # the variant that is active; "" when none is, or nobody says

    def text(self) -> str:
        """In a line."""
        what = "was damaged on disk" if self.is_damaged else "is not on the disk"
        serves = f"; serves {self.serves}" if self.serves else ""
        return f"artifact {self.sha256[:12]} of {self.variant_id} {what} and waits to be fetched again{serves}"


def read_active(folder: StateFolder) -> dict[str, str]:
    """The active variant of each model that the running agent has up."""
    holder = folder.holder()
    if holder is None:
        return {}
    return read_serving_note(folder.note_folders(), lambda pid: str(pid) == holder or Path(f"/proc/{pid}").exists())


def read_records(folder: StateFolder) -> tuple[ServingRecord, ...]:
    """Raises:
    sqlite3.Error, PermanentError, ValueError: the database cannot be read.
    """
    with closing(open_reader(folder.database)) as database:
        return tuple(record_from_row(row) for row in database.execute(SELECT_SERVING).fetchall())


def missing_artifacts(
    folder: StateFolder, records: Iterable[ServingRecord], active: Mapping[str, str]
) -> Iterator[Missing]:
    """Of the targets. A target was whole once: what is missing has gone since."""
    for record in records:
        target = record.target
        if target is None:
            continue
        serves = active.get(record.model_id, "")
        for sha256, variant_id in _needed(target).items():
            if not (folder.root / "artifacts" / "sha256" / sha256[:2] / sha256).exists():
                is_damaged = (folder.root / "quarantine" / sha256).exists()
                yield Missing(record.model_id, sha256, variant_id, is_damaged, serves)


def _needed(target: WantedModel) -> dict[str, str]:
    """sha256 of all that the ladder needs, and the first variant that needs it."""
    needed: dict[str, str] = {}
    for configuration in target.ladder():
        manifest = target.manifest(configuration.variant_id)
        for ref in (manifest.artifact, manifest.golden) if manifest is not None else ():
            if ref is not None and ref.sha256:
                needed.setdefault(ref.sha256, configuration.variant_id)
    return needed
