"""The Authenticator port over a store: a certificate counts while its device is known, unrevoked and has this key."""

from __future__ import annotations

import hmac

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from muster_controller.adapters.identity_x509.certificates import read_device_uri, spki_sha256
from muster_controller.core.entities import Standing
from muster_controller.ports import DeviceRevokedError, Principal, Store
from muster_protos.errors import NotAuthorisedError, NotFoundError


class StoreAuthenticator:
    """Knows devices by their certificates and the admin by a token."""

    def __init__(self, store: Store, fleet_id: str, admin_token: str) -> None:
        self._store = store
        self._fleet_id = fleet_id
        self._admin_token = admin_token.encode()

    def authenticate_certificate(self, certificate_pem: bytes) -> Principal:
        """From a client certificate that TLS has verified.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: another fleet, an unknown device, or a key that a later join replaced.
        """
        fleet_id, device_id, public_key_sha256 = _read(certificate_pem)
        if fleet_id != self._fleet_id:
            raise NotAuthorisedError(f"expected a device of fleet {self._fleet_id}, found another fleet's certificate")
        standing = self._known(device_id)
        if not hmac.compare_digest(standing.public_key_sha256, public_key_sha256):
            raise NotAuthorisedError(
                f"expected the key of device {device_id}, found one that is not (or no longer) its"
            )
        return _let_in(device_id, standing)

    def authenticate_device(self, device_id: str) -> Principal:
        """From an id that a broker has taken from a certificate of this fleet.

        Raises:
            DeviceRevokedError: the device was removed.
            NotAuthorisedError: an unknown device.
        """
        return _let_in(device_id, self._known(device_id))

    def authenticate_admin(self, token: str) -> Principal:
        """Compared in constant time; NotAuthorisedError when it is not the admin's."""
        if not hmac.compare_digest(token.encode(errors="replace"), self._admin_token):
            raise NotAuthorisedError("expected the admin token of this controller, found another one")
        return Principal("admin", "admin")

    def _known(self, device_id: str) -> Standing:
        try:
            return self._store.get_standing(device_id)
        except NotFoundError as error:
            raise NotAuthorisedError(f"expected a joined device, found {device_id}, which is unknown here") from error


def _let_in(device_id: str, standing: Standing) -> Principal:
    if standing.is_revoked:
        raise DeviceRevokedError(f"device {device_id} was removed from the fleet; join again with a new link")
    return Principal("device", device_id)


def _read(certificate_pem: bytes) -> tuple[str, str, str]:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        fleet_id, device_id = read_device_uri(certificate)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotAuthorisedError("expected a client certificate, found bytes that are none") from error
    if not device_id or not isinstance(key, EllipticCurvePublicKey):
        raise NotAuthorisedError("expected a device certificate, found another kind (a host's, or another system's)")
    return fleet_id, device_id, spki_sha256(key)
