"""How devices come into the fleet and keep their certificates: invitations, joins, renewals.

The service lends ``join`` and ``renew`` to the links; it decides nothing of this itself.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from muster_controller.core import join_rules
from muster_controller.core.entities import Device, JoinToken
from muster_controller.ports import DeviceRevokedError, FleetAuthority, Store
from muster_protos.errors import NotAuthorisedError, NotFoundError
from muster_protos.join_link import JoinLink
from muster_protos.model import JoinRequest, JoinResponse, SigningKey

_SECRET_BYTES = 24


class Enrolment:
    """Thread-safe; one join at a time, so that two newcomers never settle on one id."""

    def __init__(
        self,
        store: Store,
        authority: FleetAuthority,
        fleet_id: str,
        links: Callable[[], tuple[str, ...]],
        now_ns: Callable[[], int],
    ) -> None:
        """``links`` tells today's link URLs ("grpcs://HOST:PORT"), as devices should dial them."""
        self._store = store
        self._authority = authority
        self._fleet_id = fleet_id
        self._links = links
        self._now_ns = now_ns
        self._one_join = threading.Lock()

    def invite(
        self, host: str, port: int, ttl_s: float = join_rules.DEFAULT_TTL_S, uses: int = 1, note: str = ""
    ) -> tuple[JoinToken, JoinLink]:
        """Store a new token; the link with the secret exists only in the answer.

        Raises:
            InvalidInputError: no uses, or a life outside (0, 366 days].
        """
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = join_rules.make_token(secret, f"tok-{secrets.token_hex(4)}", self._now_ns(), ttl_s, uses, note)
        self._store.add_token(token)
        return token, JoinLink(host, port, secret, self._authority.ca_fingerprint())

    def join(self, request: JoinRequest) -> JoinResponse:
        """Take one use of the token and give the device its identity.

        A bad request is refused before the token is touched.

        Raises:
            InvalidInputError: a bad certificate request or id.
            NotAuthorisedError: the secret is unknown, expired, used up or revoked.
        """
        key = self._authority.public_key_sha256(request.csr_pem)
        with self._one_join:
            device_id = join_rules.settle_device_id(request.requested_device_id, key, self._find)
            self._store.use_token(join_rules.secret_sha256(request.secret), self._now_ns())
            certificate, serial, key = self._authority.issue_device_certificate(request.csr_pem, device_id)
            self._store.put_device(self._joined(device_id, serial, key, request))
        return JoinResponse(
            fleet_id=self._fleet_id,
            device_id=device_id,
            certificate_pem=certificate,
            ca_pem=self._authority.ca_pem(),
            signing_keys=self._authority.signing_keys(),
            links=self._links(),
        )

    def renew(self, device_id: str, csr_pem: bytes) -> tuple[bytes, tuple[SigningKey, ...]]:
        """A fresh certificate for a device that the link has authenticated; only for the key that it joined with.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: an unknown device, or another key.
        """
        device = self._find(device_id)
        if device is None:
            raise NotAuthorisedError(f"expected a joined device, found {device_id}, which is unknown here")
        if device.is_revoked:
            raise DeviceRevokedError(f"device {device_id} was removed from the fleet; join again with a new link")
        if self._authority.public_key_sha256(csr_pem) != device.public_key_sha256:
            raise NotAuthorisedError(f"expected a request with the key of {device_id}, found another; join again")
        certificate, _serial, _key = self._authority.issue_device_certificate(csr_pem, device_id)
        return certificate, self._authority.signing_keys()

    def _find(self, device_id: str) -> Device | None:
        try:
            return self._store.get_device(device_id)
        except NotFoundError:
            return None

    def _joined(self, device_id: str, serial: str, key: str, request: JoinRequest) -> Device:
        before = self._find(device_id)
        return Device(
            device_id=device_id,
            name=before.name if before else device_id,
            joined_at_ns=self._now_ns(),
            certificate_serial=serial,
            public_key_sha256=key,
            inventory=request.inventory,
            labels=before.labels if before else dict(request.inventory.labels),
        )
