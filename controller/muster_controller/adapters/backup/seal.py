"""The identity under a passphrase: scrypt (RFC 7914) makes the key, AES-256-GCM (NIST SP 800-38D) seals."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from muster_protos.errors import NotAuthorisedError, PermanentError

_MAGIC = b"MUSTER-SEAL-1\n"
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_COST = 2**15  # with r=8: 32 MiB and about a tenth of a second per guess
_BLOCK, _PARALLEL = 8, 1


def seal(files: Mapping[str, bytes], passphrase: str, bound: bytes) -> bytes:
    """``files`` by name, readable only with the passphrase and beside the same ``bound`` bytes."""
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    plain = json.dumps({name: base64.b64encode(content).decode() for name, content in files.items()}).encode()
    return _MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, plain, bound)


def open_seal(content: bytes, passphrase: str, bound: bytes) -> dict[str, bytes]:
    """The files.

    Raises:
        NotAuthorisedError: another passphrase sealed it, or it lies beside other bytes than it was sealed with.
        PermanentError: it is not sealed in a way that this version knows.
    """
    if not content.startswith(_MAGIC):
        raise PermanentError("expected an identity sealed by muster export, found another format; use a newer muster")
    salt_end = len(_MAGIC) + _SALT_BYTES
    nonce_end = salt_end + _NONCE_BYTES
    if len(content) < nonce_end + _TAG_BYTES:
        raise PermanentError("expected a whole sealed identity, found it cut off")
    salt, nonce = content[len(_MAGIC) : salt_end], content[salt_end:nonce_end]
    try:
        plain = AESGCM(_key(passphrase, salt)).decrypt(nonce, content[nonce_end:], bound)
    except InvalidTag as error:
        raise NotAuthorisedError(
            "expected the passphrase of this backup, found another one (or parts of the backup were exchanged)"
        ) from error
    return {name: base64.b64decode(text) for name, text in json.loads(plain).items()}


def _key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=2**26, dklen=32)
