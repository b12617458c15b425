"""The fleet's signing keys over time, in the authority's private folder.

``signing.key`` is the first key, ``signing-<key id>.key`` are later ones. After the first rotation ``key-sets.json``
holds the first key's public half and every later set, each signed by the key before it and by its own (proof that it
exists). Replacing that file is the rotation, so a crash leaves the old set or the new one. While a replaced key is not
over, everything is signed with both; its private half is deleted at the next start or rotation after that.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from muster_controller.adapters.identity_x509.folder import read_or_create
from muster_controller.adapters.identity_x509.signing import Ed25519Signer, Ed25519Verifier
from muster_devices.durable import replace_file
from muster_protos import codec
from muster_protos.envelope import SIGNING_KEY_SET
from muster_protos.errors import CodecError, ConflictError, PermanentError
from muster_protos.model import SignedEnvelope, SigningKey, SigningKeySet, TrustedKey

_CHAIN = "key-sets.json"
_MOST_KEYS = 16  # that still count at once

_log = logging.getLogger(__name__)


class KeyRing:
    """Thread-safe. Implements the Signer and Verifier ports with whatever keys are in force."""

    def __init__(self, folder: Path, fleet_id: str, now_ns: Callable[[], int]) -> None:
        """Raises:
        PermanentError: a file cannot be read, or what it holds does not belong together.
        """
        self._folder = folder
        self._fleet_id = fleet_id
        self._now_ns = now_ns
        self._lock = threading.Lock()
        first, self._chain = _read_chain(folder / _CHAIN)
        if first is None:
            first = _load(read_or_create(folder / "signing.key", _new_pem), "signing.key").signing_key
        self._first = SigningKeySet(fleet_id, 1, (TrustedKey(first),), 0)
        self._signers = {signer.signing_key.key_id: signer for signer in _signers(folder)}
        self._current = self._followed()
        self._forget_retired()

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs today."""
        return self._current.keys[0].key

    @property
    def key_set(self) -> SigningKeySet:
        """The newest set; its first key signs today."""
        return self._current

    @property
    def chain(self) -> tuple[SignedEnvelope, ...]:
        """Every set after the first, oldest first, each signed by the key before it."""
        return self._chain

    def in_force(self) -> tuple[SigningKey, ...]:
        """The keys whose signatures count now, the signing one first."""
        now_ns = self._now_ns()
        return tuple(t.key for t in self._current.keys if t.retires_at_ns == 0 or now_ns < t.retires_at_ns)

    def sign(self, payload_type: str, payload: bytes) -> SignedEnvelope:
        """Wrap ``payload`` verbatim with a signature of every key in force, today's first."""
        with self._lock:  # a rotation takes keys away whose time has come
            signers = [self._signer(key) for key in self.in_force()]
        signed = [signer.sign(payload_type, payload) for signer in signers]
        return SignedEnvelope(payload_type, payload, tuple(s for envelope in signed for s in envelope.signatures))

    def is_signed_today(self, envelope: SignedEnvelope) -> bool:
        """Whether it bears today's key's signature; by its name only, for deciding what to sign again."""
        return any(signature.key_id == self.signing_key.key_id for signature in envelope.signatures)

    def verify(self, envelopes: Sequence[SignedEnvelope]) -> None:
        """As the Verifier port, with the keys in force."""
        Ed25519Verifier(self.in_force()).verify(envelopes)

    def rotate(self, overlap_s: float) -> SigningKeySet:
        """Make a new key that signs from now on; the one of today counts for ``overlap_s`` seconds more.

        Raises:
            ConflictError: too many keys are in force.
            PermanentError: the folder cannot be written; nothing has changed.
        """
        with self._lock:
            now_ns = self._now_ns()
            kept = [t for t in self._current.keys if t.retires_at_ns == 0 or now_ns < t.retires_at_ns]
            if len(kept) >= _MOST_KEYS:
                raise ConflictError(f"expected fewer than {_MOST_KEYS} signing keys in force, found {len(kept)}; wait")
            until_ns = now_ns + int(overlap_s * 1e9)
            replaced = [TrustedKey(t.key, min(t.retires_at_ns or until_ns, until_ns)) for t in kept]
            new = Ed25519Signer(Ed25519PrivateKey.generate())
            key_set = SigningKeySet(
                self._fleet_id, self._current.version + 1, (TrustedKey(new.signing_key), *replaced), now_ns
            )
            payload = codec.encode(key_set)
            signed = [signer.sign(SIGNING_KEY_SET, payload) for signer in (self._signer(self.signing_key), new)]
            envelope = SignedEnvelope(SIGNING_KEY_SET, payload, tuple(s for e in signed for s in e.signatures))
            path = self._folder / f"signing-{new.signing_key.key_id}.key"
            read_or_create(path, new.private_pem)
            first = self._first.keys[0].key
            try:
                replace_file(self._folder / _CHAIN, _format(first, (*self._chain, envelope)))
            except OSError as error:
                raise PermanentError(f"expected to write {self._folder / _CHAIN}, found: {error.strerror}") from error
            self._signers[new.signing_key.key_id] = new
            self._chain, self._current = (*self._chain, envelope), key_set
            self._forget_retired()
            return key_set

    def _signer(self, key: SigningKey) -> Ed25519Signer:
        signer = self._signers.get(key.key_id)
        if signer is None or signer.signing_key != key:
            raise PermanentError(
                f"expected the private half of {key.key_id} in {self._folder}, found none; restore it from a backup"
            )
        return signer

    def _followed(self) -> SigningKeySet:
        """The end of the chain; every link of it must hold, as devices will check it."""
        current = self._first
        for envelope in self._chain:
            try:
                Ed25519Verifier((current.keys[0].key,)).verify((envelope,))
                following = codec.decode(SigningKeySet, envelope.payload)
            except (CodecError, PermanentError) as error:
                raise PermanentError(f"expected a chain of signing keys in {self._folder / _CHAIN}: {error}") from error
            if (following.fleet_id, following.version) != (self._fleet_id, current.version + 1) or not following.keys:
                raise PermanentError(f"expected set {current.version + 1} of this fleet's keys, found another")
            current = following
        self._signer(current.keys[0].key)
        return current

    def _forget_retired(self) -> None:
        """A private key that may sign nothing any more is worth stealing only."""
        needed = {key.key_id for key in self.in_force()}
        first_id = self._first.keys[0].key.key_id
        for key_id in [key_id for key_id in self._signers if key_id not in needed]:
            name = "signing.key" if key_id == first_id else f"signing-{key_id}.key"
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:  # tried again at the next start
                _log.warning("the retired key %s could not be deleted: %s", self._folder / name, error.strerror)
            del self._signers[key_id]


def _new_pem() -> bytes:
    return Ed25519Signer(Ed25519PrivateKey.generate()).private_pem()


def _signers(folder: Path) -> Iterator[Ed25519Signer]:
    for path in sorted(folder.glob("signing*.key")):
        yield _load(read_or_create(path, _new_pem), path.name)


def _load(pem: bytes, name: str) -> Ed25519Signer:
    try:
        key = load_pem_private_key(pem, None)
    except ValueError as error:
        raise PermanentError(
            f"expected PEM files in the identity folder, found in {name}: {error}; restore it from a backup"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PermanentError(f"expected an Ed25519 key in {name}, found another kind")
    return Ed25519Signer(key)


def _format(first: SigningKey, chain: Sequence[SignedEnvelope]) -> bytes:
    encoded = [base64.b64encode(codec.encode(item)).decode() for item in (first, *chain)]
    return json.dumps({"first": encoded[0], "sets": encoded[1:]}, indent=1).encode()


def _read_chain(path: Path) -> tuple[SigningKey | None, tuple[SignedEnvelope, ...]]:
    try:
        fields = json.loads(path.read_bytes())
        first = codec.decode(SigningKey, base64.b64decode(fields["first"]))
        return first, tuple(codec.decode(SignedEnvelope, base64.b64decode(item)) for item in fields["sets"])
    except FileNotFoundError:
        return None, ()
    except (OSError, ValueError, KeyError, TypeError, CodecError) as error:
        raise PermanentError(f"expected the fleet's key sets in {path}, found: {error}; restore them") from error
