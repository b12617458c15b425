"""How the fleet's certificates look (RFC 5280 profile), and what is read from a CSR.

P-256 throughout: Python's gRPC refuses Ed25519 certificates. The CA and host certificates are valid from 1970 with no
well-defined end (RFC 5280, 4.1.2.5), so that a device whose clock is wrong is not locked out; their life ends with the
CA's key, which lies in the same folder. Device certificates are short-lived: the controller checks those, and its clock
is good.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from muster_protos.errors import InvalidInputError, NotAuthorisedError

BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
NO_END = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)
_MAX_CSR_BYTES = 16_384


def make_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, unencrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki_sha256(key: ec.EllipticCurvePublicKey) -> str:
    """sha256 over the SubjectPublicKeyInfo's DER, lower-case hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def make_ca(key: ec.EllipticCurvePrivateKey, fleet_id: str) -> x509.Certificate:
    """A self-signed CA that may sign leaves only."""
    name = _name(f"muster fleet {fleet_id}"[:64])
    return (
        _builder(name, name, key.public_key(), BEGINNING, NO_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_alternative_names([x509.UniformResourceIdentifier(f"muster://{fleet_id}")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def make_host(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePublicKey, names: Sequence[str]
) -> x509.Certificate:
    """A certificate for a controller's TLS endpoints; ``names`` are DNS names or IP addresses."""
    return _make_leaf(
        ca, ca_key, key, names[0], [_host_name(name) for name in names], (BEGINNING, NO_END), is_device=False
    )


def make_device(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    uri: str,
    life: tuple[datetime.datetime, datetime.datetime],
) -> x509.Certificate:
    """A certificate for a device; its id is the last segment of ``uri``."""
    common_name = uri.rsplit("/", 1)[1]
    return _make_leaf(ca, ca_key, key, common_name, [x509.UniformResourceIdentifier(uri)], life, is_device=True)


def make_client(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    name: str,
    life: tuple[datetime.datetime, datetime.datetime],
) -> x509.Certificate:
    """A certificate that gives its holder a name at a broker and, without a device's URI, nothing anywhere else."""
    return _make_leaf(ca, ca_key, key, name, (), life, is_device=True)


def device_uri(fleet_id: str, device_id: str) -> str:
    """The URI that names a device in its certificate."""
    return f"muster://{fleet_id}/device/{device_id}"


def read_uri(certificate: x509.Certificate) -> str:
    """The one ``muster://`` URI of a certificate, or "" when it has none or several."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith("muster://")]
    return uris[0] if len(uris) == 1 else ""


def read_device_uri(certificate: x509.Certificate) -> tuple[str, str]:
    """(fleet id, device id) of a device certificate; both "" when it is not one."""
    parts = urlsplit(read_uri(certificate))
    segments = parts.path.split("/")
    if len(segments) != 3 or segments[:2] != ["", "device"]:
        return "", ""
    return parts.netloc, segments[2]


def read_csr_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a certificate request whose own signature is good. Its names are ignored.

    Raises:
        InvalidInputError: not a request, not P-256, or signed by another key.
    """
    if len(csr_pem) > _MAX_CSR_BYTES:
        raise InvalidInputError(f"expected a certificate request of at most {_MAX_CSR_BYTES} bytes, found a longer one")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        key = csr.public_key()
        is_signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError("expected a PEM certificate request, found bytes that are none") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("expected a certificate request with a P-256 key, found another kind of key")
    if not is_signed:
        raise InvalidInputError("expected a certificate request signed by its own key, found a bad signature")
    return key


def read_csr_challenge(csr_pem: bytes) -> bytes:
    """The challenge in a request (challengePassword, base64); b"" without one. The signature is ``read_csr_key``'s.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        attributes = x509.load_pem_x509_csr(csr_pem).attributes
        text = attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value
        return base64.b64decode(text, validate=True)
    except x509.AttributeNotFound:
        return b""
    except ValueError as error:
        raise InvalidInputError("expected a challenge in the certificate request, found other bytes") from error


def read_own_device(ca: x509.Certificate, fleet_id: str, certificate_pem: bytes) -> tuple[str, int, str]:
    """(device id, end in ns, sha256 of the key's SPKI DER) of a certificate that ``ca`` issued, expired or not.

    Raises:
        NotAuthorisedError: it is no device certificate of this fleet.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem[:_MAX_CSR_BYTES])
        certificate.verify_directly_issued_by(ca)
        found_fleet_id, device_id = read_device_uri(certificate)
        key = certificate.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise NotAuthorisedError("expected a device certificate of this fleet, found another one or none") from error
    if found_fleet_id != fleet_id or not device_id or not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotAuthorisedError("expected a device certificate of this fleet, found another kind")
    return device_id, int(certificate.not_valid_after_utc.timestamp()) * 10**9, spki_sha256(key)


def _make_leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    common_name: str,
    names: Sequence[x509.GeneralName],
    life: tuple[datetime.datetime, datetime.datetime],
    is_device: bool,
) -> x509.Certificate:
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if is_device else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        _builder(_name(common_name[:64]), ca.subject, key, *life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    return builder.sign(ca_key, SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(names: Sequence[x509.GeneralName]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(list(names))


def _host_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise InvalidInputError(f"expected an ASCII host name or an IP address, found {name[:80]!r}") from error


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
