"""Who may join, and under which id. Pure: time, randomness and the store come in as arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from muster_controller.core.entities import Device, JoinToken
from muster_protos.broker_names import RESERVED_DEVICE_IDS
from muster_protos.errors import ConflictError, InvalidInputError
from muster_protos.ids import DeviceId, check_id

DEFAULT_TTL_S = 24 * 3600
GRACE_S = 90 * 86_400.0  # for which a device certificate that ran out is still renewed
_MAX_TTL_S = 366 * 24 * 3600
_MAX_USES = 100_000
_MAX_NAMESAKES = 10_000


def secret_sha256(secret: str) -> str:
    """What the store keeps of a join secret. A secret has 192 random bits, so that a plain hash suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make_token(
    secret: str, token_id: str, now_ns: int, ttl_s: float = DEFAULT_TTL_S, uses: int = 1, note: str = ""
) -> JoinToken:
    """A token that ``uses`` devices may use within ``ttl_s`` seconds.

    Raises:
        InvalidInputError: no use at all, or a life outside (0, 366 days].
    """
    if not 1 <= uses <= _MAX_USES:
        raise InvalidInputError(f"expected 1 to {_MAX_USES} uses of a join token, found {uses}")
    if not 0 < ttl_s <= _MAX_TTL_S:
        raise InvalidInputError(f"expected a join token to live for up to 366 days, found {ttl_s / 86_400:g} days")
    return JoinToken(
        token_id=check_id(token_id, "token id"),
        secret_sha256=secret_sha256(secret),
        created_at_ns=now_ns,
        expires_at_ns=now_ns + int(ttl_s * 1e9),
        uses_left=uses,
        note=note[:200],
    )


def settle_device_id(
    requested: str,
    public_key_sha256: str,
    find: Callable[[str], Device | None],
    reserved: frozenset[str] = RESERVED_DEVICE_IDS,
) -> DeviceId:
    """The id for a device that holds a key.

    The same key gets the same id again, so joining twice is the same device. An id whose device was revoked is free
    again. An id that a living device holds with another key is never handed over, or any holder of a token could
    become any device: the newcomer gets ``<requested>-2``, ``-3``, ... To move an id to a new key, revoke it first.
    So it does in place of a ``reserved`` id.

    Raises:
        InvalidInputError: ``requested`` is not an id.
    """
    name = check_id(requested or "device", "device id")
    for number in range(1, _MAX_NAMESAKES):
        candidate = name if number == 1 else f"{name[:58]}-{number}"
        if candidate in reserved:
            continue
        known = find(candidate)
        if known is None or known.is_revoked or known.public_key_sha256 == public_key_sha256:
            return DeviceId(candidate)
    raise ConflictError(f"expected a free id like {name}, found {_MAX_NAMESAKES} devices of that name; choose another")
