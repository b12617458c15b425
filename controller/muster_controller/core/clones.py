"""Two agents with one identity, told from one agent that was started again. Pure.

An agent draws a run id when it starts. A restart ends a run for good, so a run that speaks again after another run of
the same device has spoken is alive beside it: the state folder (or the disk image) was copied. One sighting suffices,
and a restart, a crash loop or a change of the link can never look like it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_RUNS_KEPT = 8  # an agent in a crash loop must not push the other one's run out; two clones need two


@dataclass(frozen=True, slots=True)
class Sighting:
    """One run of an agent, as it said hello."""

    run_id: str
    boot_id: str
    address: str = ""  # "" where the link does not tell

    def text(self) -> str:
        """For people."""
        return f"{self.address or 'unknown address'} (boot {self.boot_id or 'unknown'}, run {self.run_id[:8]})"


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one device's agent that were seen, oldest first; the last one spoke last."""

    seen: tuple[Sighting, ...] = ()


def seen_again(runs: Runs, sighting: Sighting) -> tuple[Runs, Sighting | None]:
    """(the runs with this one last, the other living run when ``sighting`` proves that there are two)."""
    if not sighting.run_id:
        return runs, None  # an agent that is too old to say
    known = {entry.run_id for entry in runs.seen}
    last = runs.seen[-1] if runs.seen else None
    rest = tuple(entry for entry in runs.seen if entry.run_id != sighting.run_id)
    is_clone = sighting.run_id in known and last is not None and last.run_id != sighting.run_id
    return replace(runs, seen=(*rest, sighting)[-_RUNS_KEPT:]), last if is_clone else None
