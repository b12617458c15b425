"""The fleet's signing keys: shown, rotated, and everything signed again with the new one."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from muster_controller.service.context import Context
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_controller.service.paging import every
from muster_protos.errors import InvalidInputError
from muster_protos.model import SigningKeySet

OVERLAP_S = 30 * 86_400.0
_MAX_OVERLAP_S = 366 * 86_400.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FleetKey:
    """A public signing key as people see it; times are wall-clock ns, 0 = no date."""

    key_id: str
    public_key: bytes
    is_signing: bool
    retires_at_ns: int
    key_set_version: int
    is_retired: bool


class SigningKeys:
    """Rotation is one file in the authority's folder; what follows here may be done again and again."""

    def __init__(self, context: Context, desired: DesiredStates, events: Events) -> None:
        self._context = context
        self._store = context.store
        self._desired = desired
        self._events = events

    def list(self) -> tuple[FleetKey, ...]:
        """The newest set, the signing key first."""
        return self._shown(self._context.authority.key_set())

    def rotate(self, overlap_s: float = OVERLAP_S) -> tuple[FleetKey, ...]:
        """A new key signs from now on; the one of today counts for ``overlap_s`` seconds more.

        Raises:
            InvalidInputError: an overlap outside [0, 366 days].
            ConflictError: too many keys are in force.
        """
        if not 0 <= overlap_s <= _MAX_OVERLAP_S:
            raise InvalidInputError(f"expected an overlap of 0 to 366 days, found {overlap_s:g} s")
        key_set = self._context.authority.rotate_signing_key(overlap_s)
        shown = self._shown(key_set)
        self._events.record(
            "key.rotated", details={"key": shown[0].key_id, "set": str(key_set.version), "replaced": shown[1].key_id}
        )
        self.sign_again()
        self._desired.refresh_all()
        return shown

    def sign_again(self) -> int:
        """Sign the manifests again that today's key has not signed; how many that were. At start and with the cleaning,
        too: a rotation may have been cut off by a kill or a locked store, or a variant been added beside it."""
        authority = self._context.authority
        count = 0
        for newest in every(lambda cursor: self._store.list_models(cursor, 500)):
            for version in range(1, newest.version + 1):
                for variant in self._store.list_variants(newest.model_id, version):
                    if authority.is_signed_today(variant.envelope):
                        continue
                    envelope = authority.signer.sign(variant.envelope.payload_type, variant.envelope.payload)
                    self._store.put_variant_envelope(variant.manifest.variant_id, envelope)
                    count += 1
        if count:
            _log.info("%d manifests were signed again", count)
        return count

    def _shown(self, key_set: SigningKeySet) -> tuple[FleetKey, ...]:
        now_ns = self._context.clock.now_ns()
        return tuple(
            FleetKey(
                trusted.key.key_id,
                trusted.key.public_key,
                is_signing=index == 0,
                retires_at_ns=trusted.retires_at_ns,
                key_set_version=key_set.version,
                is_retired=0 < trusted.retires_at_ns <= now_ns,
            )
            for index, trusted in enumerate(key_set.keys)
        )
