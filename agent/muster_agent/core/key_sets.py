"""Following the fleet's signing keys from one set to the next. Pure: checking a signature comes in as an argument.

A set is signed by the key that signed everything else in the set before it, so a device that was away for several
rotations walks through all of them and ends where the fleet is, and a set that does not continue the chain is refused.
A key that was replaced vouches for nothing new once its date is over; manifests are the exception (``vouching``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muster_protos import codec
from muster_protos.envelope import SIGNING_KEY_SET
from muster_protos.errors import NotAuthorisedError
from muster_protos.model import SignedEnvelope, SigningKey, SigningKeySet, TrustedKey

NEVER_NS = 0  # a key without a date
_MAX_KEYS = 64

Check = Callable[[SignedEnvelope, SigningKey], None]
"""Raises NotAuthorisedError unless the envelope bears a good signature of the key."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that a device trusts; the first one signs today. ``version`` is that of the newest set it followed."""

    version: int
    keys: tuple[TrustedKey, ...]

    def in_force(self, now_ns: int) -> tuple[SigningKey, ...]:
        """Keys whose word counts at ``now_ns``, for everything."""
        return tuple(t.key for t in self.keys if t.retires_at_ns == NEVER_NS or now_ns < t.retires_at_ns)

    def vouching(self) -> tuple[SigningKey, ...]:
        """Every key that ever was trusted here: good for manifests, which only describe bytes by their hash and which
        reach a device inside a desired state, or lie on its disk since the key was in force."""
        return tuple(trusted.key for trusted in self.keys)


def follow(trust: Trust, fleet_id: str, key_sets: Sequence[SignedEnvelope], check: Check) -> Trust:
    """``trust`` after every newer set in ``key_sets`` (oldest first); ``trust`` itself when none is newer.

    Raises:
        NotAuthorisedError: a newer set is of another fleet, leaves a gap, or is not signed by the key before it.
        TemporaryError: as ``check``.
    """
    for envelope in key_sets:
        if envelope.payload_type != SIGNING_KEY_SET:
            raise NotAuthorisedError(
                f"expected a set of signing keys, found a {envelope.payload_type[:60] or 'payload'}"
            )
        found = codec.decode(SigningKeySet, envelope.payload)
        if found.version <= trust.version:
            continue
        if found.fleet_id != fleet_id or found.version != trust.version + 1:
            raise NotAuthorisedError(
                f"expected set {trust.version + 1} of fleet {fleet_id}'s signing keys, "
                f"found set {found.version} of {found.fleet_id[:64] or 'no fleet'}; join again"
            )
        if not 1 <= len(found.keys) <= _MAX_KEYS or any(len(t.key.public_key) != 32 for t in found.keys):
            raise NotAuthorisedError(f"expected 1 to {_MAX_KEYS} Ed25519 keys in set {found.version}, found others")
        check(envelope, trust.keys[0].key)
        trust = _succeeded_by(trust, found)
    return trust


def _succeeded_by(trust: Trust, found: SigningKeySet) -> Trust:
    """The new set, and behind it what it no longer names, retired at the latest when it was issued."""
    named = {trusted.key for trusted in found.keys}
    dropped = tuple(
        TrustedKey(t.key, min(t.retires_at_ns or found.issued_at_ns, found.issued_at_ns) or 1)
        for t in trust.keys
        if t.key not in named
    )
    return Trust(found.version, (*found.keys, *dropped))
