"""What a join left on the device: ``identity/{join.json,key.pem,cert.pem,ca.pem}``, 0600 in a 0700 folder.

``join.json`` holds everything but the key and is replaced atomically, so an identity is always whole: the old one or
the new one. ``cert.pem`` and ``ca.pem`` repeat two of its fields for TLS stacks that want files.
"""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from muster_devices.durable import make_folder, replace_file
from muster_protos.errors import NotAuthorisedError, PermanentError
from muster_protos.model import SigningKey

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is, whom it trusts and where it reports."""

    fleet_id: str
    device_id: str
    certificate_pem: bytes
    ca_pem: bytes
    signing_keys: tuple[SigningKey, ...]
    links: tuple[str, ...]  # "grpcs://127.0.0.1:8471", ...


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

    def renew(self, certificate_pem: bytes, signing_keys: tuple[SigningKey, ...]) -> Identity:
        """Keep a renewed certificate and today's signing keys."""
        identity = self.read()
        if identity is None:
            raise NotAuthorisedError("expected a joined device, found none; run: muster-agent join")
        renewed = replace(identity, certificate_pem=certificate_pem, signing_keys=signing_keys or identity.signing_keys)
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
    )
