"""What a join left on the device: ``identity/{join.json,key.pem,cert.pem,ca.pem}``, 0600 in a 0700 folder.

``join.json`` holds everything but the key and is replaced atomically, so an identity is always whole: the old one or
the new one. ``cert.pem`` and ``ca.pem`` repeat two of its fields for TLS stacks that want files.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster_agent.core.key_sets import Trust
from muster_devices.durable import make_folder, replace_file
from muster_protos.errors import NotAuthorisedError, PermanentError
from muster_protos.model import SigningKey, TrustedKey

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is, whom it trusts and where it reports."""

    fleet_id: str
    device_id: str
    certificate_pem: bytes
    ca_pem: bytes
    signing_keys: tuple[SigningKey, ...]  # the first one signs today; retired ones still vouch for old manifests
    links: tuple[str, ...]  # "grpcs://127.0.0.1:8471", ...
    key_set_version: int = 1  # of the newest set of signing keys that this device followed
    retires_at_ns: Mapping[str, int] = field(default_factory=dict)  # by key id; no entry = no date
    door_url: str = ""  # https://HOST:PORT where an expired certificate is renewed
    broker_ca_pem: bytes = b""  # that signed the broker's certificate, where it is not ca_pem
    door_certificate_pem: bytes = b""  # for asking for a renewal at a broker, where an expired certificate is refused

    @property
    def trust(self) -> Trust:
        """The signing keys with their dates."""
        keys = (TrustedKey(key, self.retires_at_ns.get(key.key_id, 0)) for key in self.signing_keys)
        return Trust(self.key_set_version, tuple(keys))

    def trusting(self, trust: Trust) -> Identity:
        """The same device with other signing keys."""
        return replace(
            self,
            signing_keys=tuple(trusted.key for trusted in trust.keys),
            key_set_version=trust.version,
            retires_at_ns={t.key.key_id: t.retires_at_ns for t in trust.keys if t.retires_at_ns},
        )


class IdentityFolder:
    """Reads and writes the folder; safe against a kill at any moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_path = folder / "key.pem"
        self.certificate_path = folder / "cert.pem"
        self.ca_path = folder / "ca.pem"
        self._join_path = folder / "join.json"

    def create(self) -> None:
        """Make the folder, private.

        Raises:
            PermanentError: it cannot be made or is not ours.
        """
        try:
            make_folder(self.folder, 0o700)
            self.folder.chmod(0o700)
        except OSError as error:
            raise PermanentError(f"expected a folder of our own at {self.folder}, found: {error.strerror}") from error

    def read(self) -> Identity | None:
        """The identity, or None when this device has not joined.

        Raises:
            PermanentError: the files are damaged; joining again mends them.
        """
        try:
            text = self._join_path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PermanentError(f"expected to read {self._join_path}, found: {error.strerror}") from error
        try:
            identity = _parse(text)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise PermanentError(f"expected an identity in {self._join_path}, found damage; join again") from error
        if not self.key_path.exists():
            raise PermanentError(f"expected the device's key at {self.key_path}, found none; join again")
        with suppress(OSError):  # a disk that is full or read-only: the old ones may still do
            self._repeat(identity)
        return identity

    def read_key(self) -> bytes:
        """The device's private key, PEM.

        Raises:
            PermanentError: it is not there.
        """
        try:
            return self.key_path.read_bytes()
        except OSError as error:
            raise PermanentError(f"expected the device's key at {self.key_path}, found: {error.strerror}") from error

    def write(self, identity: Identity) -> None:
        """Replace the identity: whole or not at all."""
        self.create()
        try:
            replace_file(self._join_path, _format(identity).encode())
            self._repeat(identity)
        except OSError as error:
            raise PermanentError(f"expected to write {self.folder}, found: {error.strerror}") from error

    def renew(self, certificate_pem: bytes, door_certificate_pem: bytes = b"") -> Identity:
        """Keep renewed certificates; b"" = the old one for the door counts on.

        Signing keys come only by the chain of their sets (``core/key_sets.py``).
        """
        identity = self.read()
        if identity is None:
            raise NotAuthorisedError("expected a joined device, found none; run: muster-agent join")
        renewed = replace(
            identity,
            certificate_pem=certificate_pem,
            door_certificate_pem=door_certificate_pem or identity.door_certificate_pem,
        )
        self.write(renewed)
        return renewed

    def remove(self) -> None:
        """Leave the fleet: forget identity and key."""
        for path in (self._join_path, self.certificate_path, self.ca_path, self.key_path):
            path.unlink(missing_ok=True)

    def _repeat(self, identity: Identity) -> None:
        for path, content in ((self.certificate_path, identity.certificate_pem), (self.ca_path, identity.ca_pem)):
            if not path.exists() or path.read_bytes() != content:
                replace_file(path, content)


def _format(identity: Identity) -> str:
    return json.dumps(
        {
            "version": _VERSION,
            "fleet_id": identity.fleet_id,
            "device_id": identity.device_id,
            "certificate_pem": identity.certificate_pem.decode(),
            "ca_pem": identity.ca_pem.decode(),
            "signing_keys": [
                {"key_id": key.key_id, "public_key": base64.b64encode(key.public_key).decode()}
                for key in identity.signing_keys
            ],
            "links": list(identity.links),
            "key_set_version": identity.key_set_version,
            "retires_at_ns": dict(identity.retires_at_ns),
            "door_url": identity.door_url,
            "broker_ca_pem": identity.broker_ca_pem.decode(),
            "door_certificate_pem": identity.door_certificate_pem.decode(),
        },
        indent=1,
    )


def _parse(text: str) -> Identity:
    fields = json.loads(text)
    return Identity(
        fleet_id=str(fields["fleet_id"]),
        device_id=str(fields["device_id"]),
        certificate_pem=fields["certificate_pem"].encode(),
        ca_pem=fields["ca_pem"].encode(),
        signing_keys=tuple(
            SigningKey(str(key["key_id"]), base64.b64decode(key["public_key"], validate=True))
            for key in fields["signing_keys"]
        ),
        links=tuple(str(link) for link in fields["links"]),
        key_set_version=int(fields.get("key_set_version", 1)),  # identities of the first release have none of these
        retires_at_ns={str(key): int(value) for key, value in fields.get("retires_at_ns", {}).items()},
        door_url=str(fields.get("door_url", "")),
        broker_ca_pem=str(fields.get("broker_ca_pem", "")).encode(),
        door_certificate_pem=str(fields.get("door_certificate_pem", "")).encode(),
    )
