"""Follows which variant of each model is active and leaves a note of each change."""

from __future__ import annotations

from muster_agent.daemon.moment import Moment
from muster_agent.daemon.parts import Parts


class ServingWatch:
    """Belongs to the loop."""

    def __init__(self, parts: Parts, moment: Moment) -> None:
        self._parts = parts
        self._moment = moment
        self._noted: dict[str, str] | None = None

    def turn(self) -> None:
        """Leave a note when something has changed since the last one."""
        lives = {model_id: self._moment.live(model_id) for model_id in self._moment.live_ids()}
        active = {model_id: live.active_variant_id for model_id, live in lives.items() if live is not None}
        if active != self._noted:
            self._noted = active
            self._parts.note_serving(active)
