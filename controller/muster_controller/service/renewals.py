"""New certificates for devices that were away while their old one ran out, and the grace for which that works.

A device asks without a client certificate: with its old certificate, which this fleet's CA signed, and a request that
its key has signed over a one-time challenge of this controller. Any link or endpoint may offer this; the join endpoint
does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Set

from muster_controller.core.join_rules import GRACE_S
from muster_controller.ports import Clock, FleetAuthority
from muster_controller.service.events import Events
from muster_controller.service.joining import Joining
from muster_protos.errors import NotAuthorisedError
from muster_protos.model import RenewalChallenge, RenewRequest, RenewResponse

_AGAIN_NS = 3600 * 10**9  # an expired device may ask as often as it likes: one event an hour is enough

_log = logging.getLogger(__name__)


class Renewals:
    """The door for expired identities."""

    def __init__(
        self, authority: FleetAuthority, clock: Clock, joining: Joining, events: Events, grace_s: float = GRACE_S
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._joining = joining
        self._events = events
        self._grace_ns = int(grace_s * 1e9)
        self._lock = threading.Lock()
        self._told_ns: dict[str, int] = {}  # by device; only this fleet's CA makes the names in it

    def challenge(self) -> RenewalChallenge:
        """A one-time number to sign, and what time it is."""
        return RenewalChallenge(self._authority.new_challenge(), self._clock.now_ns())

    def renew(self, request: RenewRequest) -> RenewResponse:
        """Certificates for the key that the device joined with.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: no proof of the key, a replay, an unknown device, or the grace is over.
            InvalidInputError: the request is malformed.
        """
        device_id, ended_ns = self._authority.check_renewal(request.certificate_pem, request.csr_pem)
        over_ns = self._clock.now_ns() - ended_ns
        if over_ns > self._grace_ns:
            day_ns = 86_400 * 10**9
            reason = (
                f"the certificate of device {device_id} ended {over_ns // day_ns} days ago, "
                f"more than the {self._grace_ns // day_ns} days of grace: join it again, muster token new"
            )
            self._tell(device_id, reason)
            raise NotAuthorisedError(reason)
        renewed = self._joining.renew(device_id, request.csr_pem)
        _log.info("device %s renewed its certificate at the door", device_id)
        return renewed

    def keep_only(self, device_ids: Set[str]) -> None:
        """Forget all other devices."""
        with self._lock:
            self._told_ns = {key: told_ns for key, told_ns in self._told_ns.items() if key in device_ids}

    def _tell(self, device_id: str, reason: str) -> None:
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            if now_ns - self._told_ns.get(device_id, -_AGAIN_NS) < _AGAIN_NS:
                return
            self._told_ns[device_id] = now_ns
        self._events.record("identity.expired", device_id, reason=reason)
