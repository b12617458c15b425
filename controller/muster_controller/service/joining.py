"""How a device becomes part of the fleet, and stays."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from muster_controller.core.entities import Device, Fleet, JoinToken
from muster_controller.core.field_rules import message_reason
from muster_controller.core.join_rules import secret_sha256, settle_device_id
from muster_controller.ports import Clock, DeviceRevokedError, FleetAuthority, Store
from muster_controller.service.events import Events
from muster_protos.broker_names import RESERVED_DEVICE_IDS
from muster_protos.errors import ConflictError, InvalidInputError, NotAuthorisedError, NotFoundError, TemporaryError
from muster_protos.ids import check_id
from muster_protos.join_link import DEFAULT_PORT, JoinLink
from muster_protos.model import JoinRequest, JoinResponse, RenewResponse, ReportedState

_JOIN_AGAIN_AFTER_S = 2.0


class Joining:
    """Trades a join secret and a certificate request for an identity."""

    def __init__(self, store: Store, authority: FleetAuthority, clock: Clock, events: Events) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._keys_on_their_way: set[str] = set()
        self._links: tuple[str, ...] = ()
        self._broker_ca_pem = b""
        self._reserved = RESERVED_DEVICE_IDS
        self._on_replaced: Callable[[str], None] | None = None
        self._join_address = ("127.0.0.1", DEFAULT_PORT)
        self._is_advertised = False

    def follow(self, on_replaced: Callable[[str], None]) -> None:
        """Have ``on_replaced`` called before other hardware becomes the device of an id that was freed."""
        self._on_replaced = on_replaced

    def reserve(self, name: str) -> None:
        """No device shall be called ``name``, since a broker takes whoever bears it for the controller.

        Raises:
            ConflictError: a device is, or was.
        """
        with self._lock:
            if self._find(name) is not None:
                raise ConflictError(
                    f"expected a controller's certificate that is called like no device, found device {name}; "
                    "name one with another common name with --mqtt-cert"
                )
            self._reserved |= {name}

    def advertise(self, links: tuple[str, ...], join_host: str, join_port: int, broker_ca_pem: bytes = b"") -> None:
        """Say where devices reach this controller (``grpcs://127.0.0.1:8471``) and where they join.

        ``broker_ca_pem``: of a broker among the links whose certificate is not the fleet's.
        """
        self._links = links
        self._broker_ca_pem = broker_ca_pem
        self._join_address = (join_host, join_port)
        self._is_advertised = True

    @property
    def door_url(self) -> str:
        """Where a device renews whose certificate has run out; "" while that is not known yet."""
        if not self._is_advertised:
            return ""
        host, port = self._join_address
        return JoinLink(host, port, "", "").endpoint()

    @property
    def links(self) -> tuple[str, ...]:
        return self._links

    @property
    def broker_ca_pem(self) -> bytes:
        """Of the broker's certificate, where that is not the fleet's; else b""."""
        return self._broker_ca_pem

    def join_link(self, secret: str) -> str:
        """The line to paste on a device."""
        host, port = self._join_address
        return JoinLink(host, port, secret, self._authority.ca_fingerprint()).text()

    def join(self, fleet: Fleet, request: JoinRequest, token_sha256: str = "") -> JoinResponse:
        """Use the token up by one and issue a certificate. The same key joining again is the same device, and with the
        same token it costs no further use: the answer may have been lost, or have come too late. Another key that gets
        the id of a removed device starts anew, with the name and the labels only.

        ``token_sha256``: of a secret that was proven without being sent, in place of the request's own.

        Raises:
            InvalidInputError: the requested id or the certificate request is malformed.
            NotAuthorisedError: the secret is unknown, revoked, expired or used up.
            TemporaryError: an earlier request with this key is not answered yet.
        """
        if request.requested_device_id:
            check_id(request.requested_device_id, "device id")
        if reason := message_reason(request.inventory):
            raise InvalidInputError(f"the inventory is not believed: {reason}")
        key_sha256 = self._authority.public_key_sha256(request.csr_pem)  # a request that is no good costs no use
        with self._alone(key_sha256):
            return self._join(fleet, request, token_sha256 or secret_sha256(request.secret), key_sha256)

    @contextlib.contextmanager
    def _alone(self, key_sha256: str) -> Iterator[None]:
        """One request of a key at a time, so that the second one sees what came of the first."""
        with self._lock:
            if key_sha256 in self._keys_on_their_way:
                raise TemporaryError(
                    "expected this device's earlier request to be over, found it on its way; try again in a moment",
                    _JOIN_AGAIN_AFTER_S,
                )
            self._keys_on_their_way.add(key_sha256)
        try:
            yield
        finally:
            with self._lock:
                self._keys_on_their_way.discard(key_sha256)

    def _join(self, fleet: Fleet, request: JoinRequest, token_sha256: str, key_sha256: str) -> JoinResponse:
        now_ns = self._clock.now_ns()
        member_id = self._joined_with(request, token_sha256, now_ns, key_sha256)
        if member_id is not None:
            return self._once_more(fleet, request, member_id)
        token = self._use_token(request, token_sha256, now_ns, key_sha256)
        with self._lock:
            device_id = settle_device_id(request.requested_device_id, key_sha256, self._find, self._reserved)
            known = self._find(device_id)
            certificate_pem, serial, _ = self._authority.issue_device_certificate(request.csr_pem, device_id)
            door_pem = self._authority.issue_door_certificate(request.csr_pem, device_id)
            device = known or Device(device_id, device_id, now_ns, serial, key_sha256, request.inventory)
            if device.is_revoked and device.public_key_sha256 != key_sha256:
                self._forget(device_id, now_ns)
                device = replace(device, replaced_at_ns=now_ns)
            self._store.put_device(
                replace(
                    device,
                    certificate_serial=serial,
                    public_key_sha256=key_sha256,
                    inventory=replace(request.inventory, device_id=device_id),
                    is_revoked=False,
                    cloned_at_ns=0,
                )
            )
        self._events.record("device.joined", device_id=device_id, details={"token": token.token_id})
        return self._answer(fleet, device_id, certificate_pem, door_pem)

    def _once_more(self, fleet: Fleet, request: JoinRequest, device_id: str) -> JoinResponse:
        """As a renewal, and nothing more: whoever is removed meanwhile stays so, and a clone's mark stays.

        Raises:
            DeviceRevokedError: it is removed in this very moment.
        """
        renewed = self.renew(device_id, request.csr_pem)
        self._store.put_inventory(device_id, replace(request.inventory, device_id=device_id))
        return self._answer(fleet, device_id, renewed.certificate_pem, renewed.door_certificate_pem)

    def _answer(self, fleet: Fleet, device_id: str, certificate_pem: bytes, door_pem: bytes) -> JoinResponse:
        return JoinResponse(
            fleet_id=fleet.fleet_id,
            device_id=device_id,
            certificate_pem=certificate_pem,
            ca_pem=self._authority.ca_pem(),
            signing_keys=self._authority.signing_keys(),
            links=self._links,
            key_set_version=self._authority.key_set().version,
            broker_ca_pem=self._broker_ca_pem,
            door_certificate_pem=door_pem,
        )

    def renew(self, device_id: str, csr_pem: bytes) -> RenewResponse:
        """Fresh certificates for the key that the device joined with.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: the device is unknown, or the request is for another key.
        """
        self._check_renewal(device_id, csr_pem)
        certificate_pem, serial, _ = self._authority.issue_device_certificate(csr_pem, device_id)
        door_pem = self._authority.issue_door_certificate(csr_pem, device_id)
        # A removal marks the device before it revokes: one that the store does not know by now revokes these, too.
        self._check_renewal(device_id, csr_pem)
        self._store.put_certificate(device_id, serial)
        return RenewResponse(certificate_pem, self._authority.signing_keys(), door_pem)

    def _check_renewal(self, device_id: str, csr_pem: bytes) -> None:
        device = self._find(device_id)
        if device is None:
            raise NotAuthorisedError(
                f"expected a device of this fleet, found {device_id}, which is unknown; join it again"
            )
        if device.is_revoked:
            raise DeviceRevokedError(f"device {device_id} was removed from the fleet; join it again")
        if self._authority.public_key_sha256(csr_pem) != device.public_key_sha256:
            raise NotAuthorisedError(f"expected a renewal of device {device_id}'s own key, found another key")

    def _joined_with(self, request: JoinRequest, token_sha256: str, now_ns: int, key_sha256: str) -> str | None:
        """The device's id, where it joined with this token last, is still in the fleet, and the token lives."""
        device_id = settle_device_id(request.requested_device_id, key_sha256, self._find, self._reserved)
        known = self._find(device_id)
        if known is None or known.is_revoked or known.public_key_sha256 != key_sha256:
            return None
        last = self._store.newest_events(device_id, "device.joined", 1)
        with_token = last[0].details.get("token", "") if last else ""
        is_the_same = any(
            token.secret_sha256 == token_sha256
            and token.token_id == with_token
            and not token.is_revoked
            and now_ns < token.expires_at_ns
            for token in self._store.list_tokens()
        )
        return device_id if is_the_same else None

    def _use_token(self, request: JoinRequest, token_sha256: str, now_ns: int, key_sha256: str) -> JoinToken:
        """One use of the secret. A removed device that asks with a worthless one is told why it is out: its request
        proves its key, so nobody else learns that."""
        try:
            return self._store.use_token(token_sha256, now_ns)
        except NotAuthorisedError as error:
            known = self._find(request.requested_device_id)
            if known is None or not known.is_revoked or known.public_key_sha256 != key_sha256:
                raise
            raise DeviceRevokedError(f"device {known.device_id} was removed from the fleet, and {error}") from error

    def _forget(self, device_id: str, now_ns: int) -> None:
        """Other hardware takes a freed id over: it gets nothing that the old one was meant to hold or serve."""
        if self._on_replaced is not None:
            self._on_replaced(device_id)
        self._store.forget_reports(device_id)
        self._store.put_reported(device_id, ReportedState(device_id=device_id), now_ns)

    def _find(self, device_id: str) -> Device | None:
        try:
            return self._store.get_device(device_id)
        except NotFoundError:
            return None
