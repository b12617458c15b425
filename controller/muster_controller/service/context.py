"""The ports that every noun of the service shares."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from muster_controller.ports import ArtifactStore, ChangeFeed, Clock, FleetAuthority, Store
from muster_controller.service.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Context:
    """One set of adapters; ``folder`` is the controller's data folder, for uploads and work in progress."""

    store: Store
    artifacts: ArtifactStore
    feed: ChangeFeed
    authority: FleetAuthority
    clock: Clock
    workshop: Workshop
    folder: Path


def new_id(prefix: str) -> str:
    """A fresh id such as ``run-5f0c9a1b2d``: 40 random bits after the prefix."""
    return f"{prefix}-{secrets.token_hex(5)}"
