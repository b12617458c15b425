"""Frees artifacts that nothing names any more."""

from __future__ import annotations

from muster_controller.ports import ArtifactStore, Store

MIN_AGE_S = 3600.0


def collect(store: Store, artifacts: ArtifactStore) -> tuple[str, ...]:
    """Remove artifacts that no model, variant or deployment names; returns their sha256s.

    What was put (or put again) within the last hour stays: it may be on its way to the shelf, its manifest not stored
    yet, by an operation that began after the caller looked or that another controller on this store runs.
    """
    present = tuple(artifacts.iter_sha256s())
    referenced = store.referenced_sha256s()
    unreferenced = tuple(sha256 for sha256 in present if sha256 not in referenced)
    return tuple(sha256 for sha256 in unreferenced if artifacts.remove(sha256, MIN_AGE_S))
