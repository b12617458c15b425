"""Which events are the controller's own to say, and which of them are kept as long as what they tell of."""

from __future__ import annotations

CONTROLLER_PREFIXES = ("decision.", "device.", "key.", "message.", "model.", "push.", "rollout.", "variant.")
RUN_ENDS = ("benchmark.finished", "benchmark.cancelled")
LOAD_ENDS = ("load.finished", "load.failed")
CONTROLLER_KINDS = frozenset(
    (
        *RUN_ENDS,
        *LOAD_ENDS,
        "benchmark.started",
        "identity.cloned",
        "identity.expired",
        "load.requested",
    )
)

KEPT_KINDS = frozenset((*RUN_ENDS, *LOAD_ENDS))
"""A controller that starts tells the ends of runs and loads that the feed lacks: none may be told twice."""


def is_controllers(kind: str) -> bool:
    """Whether no device may say it; the time of such an event is the controller's."""
    return kind in CONTROLLER_KINDS or kind.startswith(CONTROLLER_PREFIXES)
