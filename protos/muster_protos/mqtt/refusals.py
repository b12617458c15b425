"""Errors as answers and back, so that both links mean the same by them."""

from __future__ import annotations

from muster_protos.errors import (
    InvalidInputError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
)
from muster_protos.model import Refusal

_MAX_CHARACTERS = 1000


def refusal_of(request_id: int, error: MusterError) -> Refusal:
    """What the controller answers."""
    message = " ".join(str(error).split())[:_MAX_CHARACTERS]
    match error:
        case NotFoundError():
            return Refusal(request_id, "not_found", message)
        case NotAuthorisedError():
            return Refusal(request_id, "not_authorised", message)
        case InvalidInputError():
            return Refusal(request_id, "invalid_input", message)
        case TemporaryError():
            return Refusal(request_id, "temporary", message, round((error.retry_after_s or 0.0) * 1e3))
        case _:
            return Refusal(request_id, "permanent", message)


def error_of(refusal: Refusal) -> MusterError:
    """What it means to the agent; a kind of a newer controller may pass."""
    match refusal.kind:
        case "not_found":
            return NotFoundError(refusal.message)
        case "not_authorised":
            return NotAuthorisedError(refusal.message)
        case "invalid_input":
            return InvalidInputError(refusal.message)
        case "permanent":
            return PermanentError(refusal.message)
        case _:
            return TemporaryError(refusal.message, refusal.retry_after_ms / 1e3 or None)
