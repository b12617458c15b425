"""Which samples rank the points: held-out ones where there are any, so that those that judge stay unseen."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.orders import Holdout, HoldoutOrder, Parent
from muster_compression.part_of import OnProgress
from muster_compression.process import run_order
from muster_compression.variant_of import absolute_parent


def ranking_samples(
    parent: Parent, own_metric: str, folder: Path, on_progress: OnProgress, stop: threading.Event | None
) -> Holdout:
    """The model with its held-out samples, written to ``folder``; ``Holdout.parent`` is None where there are none.

    Raises:
        InvalidInputError: the data do not fit the model any more, or samples that are held out judge it.
        MissingExtraError, ChildError, InterruptedError: as ``import_model``.
    """
    if not parent.data:
        return Holdout(reason="the model came without data")
    return run_order(HoldoutOrder(absolute_parent(parent), folder, own_metric), Holdout, on_progress, stop)


def in_words(holdout: Holdout) -> str:
    """For people: what the points' figures are of, and what follows from that."""
    if holdout.parent is not None:
        return f"{holdout.samples} held-out samples; what was chosen was then judged on the samples that judge"
    return (
        f"the samples that judge, too ({holdout.reason}): the best of many points looks better there than it is, so "
        "the figures of what was chosen are optimistic"
    )
