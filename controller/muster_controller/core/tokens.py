"""When a join token is good for one more device."""

from __future__ import annotations

from dataclasses import replace

from muster_controller.core.entities import JoinToken
from muster_protos.errors import NotAuthorisedError


def take_use(token: JoinToken | None, now_ns: int) -> JoinToken:
    """The token with one use fewer.

    Raises:
        NotAuthorisedError: it is unknown, revoked, expired or used up; the message says which.
    """
    if token is None:
        raise NotAuthorisedError(
            "expected a join secret of this fleet, found an unknown one: make one, muster token new"
        )
    if token.is_revoked:
        raise NotAuthorisedError(f"join token {token.token_id} was revoked: make another, muster token new")
    if now_ns >= token.expires_at_ns:
        raise NotAuthorisedError(f"join token {token.token_id} has expired: make another, muster token new")
    if token.uses_left <= 0:
        raise NotAuthorisedError(f"join token {token.token_id} is used up: make another, muster token new")
    return replace(token, uses_left=token.uses_left - 1)
