"""What happened, in the order in which it was stored."""

from __future__ import annotations

from collections.abc import Mapping

from muster_controller.core.entities import FleetEvent
from muster_controller.ports import ChangeFeed, Clock, Store
from muster_controller.service.context import new_id

TOPIC = "events"


class Events:
    """Appends to the feed and wakes whoever follows it."""

    def __init__(self, store: Store, feed: ChangeFeed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock

    def record(
        self,
        kind: str,
        device_id: str = "",
        model_id: str = "",
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> FleetEvent:
        """Store something that the controller itself did or saw."""
        stored = self.note(kind, device_id, model_id, reason, details)
        self._feed.publish(TOPIC)
        return stored

    def note(
        self,
        kind: str,
        device_id: str = "",
        model_id: str = "",
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> FleetEvent:
        """As ``record``, and nobody is woken: it is part of a larger transaction. ``wake`` after that."""
        event = FleetEvent(
            event_id=new_id("event"),
            kind=kind,
            at_ns=self._clock.now_ns(),
            device_id=device_id,
            model_id=model_id,
            reason=reason,
            details=dict(details or {}),
        )
        return self._store.add_event(event)

    def wake(self) -> None:
        """Say that the store has new events, put there with something else."""
        self._feed.publish(TOPIC)

    def list(
        self, after_sequence: int = 0, device_id: str | None = None, kind: str | None = None, limit: int = 200
    ) -> tuple[FleetEvent, ...]:
        """Events after ``after_sequence``, oldest first."""
        return self._store.list_events(after_sequence, device_id, kind, limit)
