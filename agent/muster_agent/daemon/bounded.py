"""Events no larger than the controller takes: what a child said last, or an app calls an event, may be anything."""

from __future__ import annotations

from dataclasses import replace

from muster_protos.model import Event

_NAME_CHARACTERS = 200
_TEXT_CHARACTERS = 1000
_DETAILS_KEPT = 32


def bounded_event(event: Event) -> Event:
    """The same event, cut where it is too long; without NUL."""
    kept = list(event.details.items())[:_DETAILS_KEPT]
    return replace(
        event,
        event_id=_bounded(event.event_id, _NAME_CHARACTERS),
        kind=_bounded(event.kind, _NAME_CHARACTERS),
        model_id=_bounded(event.model_id, _NAME_CHARACTERS),
        from_variant_id=_bounded(event.from_variant_id, _NAME_CHARACTERS),
        to_variant_id=_bounded(event.to_variant_id, _NAME_CHARACTERS),
        direction=_bounded(event.direction, _NAME_CHARACTERS),
        reason=_bounded(event.reason),
        details={_bounded(key, _NAME_CHARACTERS): _bounded(value) for key, value in kept},
    )


def _bounded(text: str, characters: int = _TEXT_CHARACTERS) -> str:
    return text.replace("\0", "")[:characters]
