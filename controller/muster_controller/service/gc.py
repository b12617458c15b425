"""Frees artifacts that nothing names any more."""

from __future__ import annotations

from muster_controller.ports import ArtifactStore, Store


def collect(store: Store, artifacts: ArtifactStore) -> tuple[str, ...]:
    """Remove artifacts that no model, variant or deployment names; returns their sha256s.

    The listing is taken before the references: an artifact that is shelved in between is listed by neither, and one
    that is being shelved now is safe because callers run this while no operation runs.
    """
    present = tuple(artifacts.iter_sha256s())
    referenced = store.referenced_sha256s()
    unreferenced = tuple(sha256 for sha256 in present if sha256 not in referenced)
    for sha256 in unreferenced:
        artifacts.remove(sha256)
    return unreferenced
