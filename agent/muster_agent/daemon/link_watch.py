"""Follows how this device stands with its controller and leaves a note of each change."""

from __future__ import annotations

from muster_agent.core.link_state import LinkState, Standing, follow
from muster_agent.daemon.parts import Parts


class LinkWatch:
    """Belongs to the loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._state: LinkState | None = None

    def begin(self) -> None:
        """The agent has started: offline until a session is up."""
        self._state = LinkState(Standing.OFFLINE, self._parts.clock.now_ns(), "no session since the agent started")
        self._parts.note_link(self._state)

    def see(self, standing: Standing, reason: str = "") -> None:
        """News of the link."""
        before, now_ns = self._state, self._parts.clock.now_ns()
        if before is None:
            return
        self._state = follow(before, standing, now_ns, reason, self._parts.link.name)
        if self._state != before:
            self._parts.note_link(self._state)
