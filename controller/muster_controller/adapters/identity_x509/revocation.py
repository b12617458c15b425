"""The fleet's certificate revocation list (RFC 5280, section 5)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from muster_controller.adapters.identity_x509.certificates import BEGINNING, NO_END
from muster_controller.adapters.identity_x509.ledger import IssuedCertificate


def revocation_list_pem(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, revoked: Iterable[IssuedCertificate]
) -> bytes:
    """Without end, like the CA: a list that runs out would lock every device out of the broker."""
    builder = x509.CertificateRevocationListBuilder(ca.subject, BEGINNING, NO_END)
    for certificate in revoked:
        at = datetime.datetime.fromtimestamp(certificate.revoked_s or 0, tz=datetime.timezone.utc)
        entry = x509.RevokedCertificateBuilder(certificate.serial, at).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM)
