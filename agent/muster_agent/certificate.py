"""When a certificate begins and ends, read from its DER (RFC 5280, 4.1): the agent never imports ``cryptography``.

Only for deciding when to renew; whether a certificate is genuine is decided by TLS and by the verifier child. Nor is
``ssl`` imported for it, which an agent on gRPC does not need.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import re

from muster_agent.core.renewal import Life
from muster_protos.errors import InvalidInputError

_SEQUENCE, _INTEGER, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x02, 0x17, 0x18, 0xA0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_TIME = re.compile(rb"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z")


def first_der(pem: bytes) -> bytes:
    """The DER of the first certificate in ``pem``.

    Raises:
        ValueError: there is none.
    """
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate in it")
    return base64.b64decode(found[1])


def read_life(certificate_pem: bytes) -> Life:
    """The life of the first certificate in ``certificate_pem``.

    Raises:
        InvalidInputError: it is no certificate.
    """
    try:
        der = first_der(certificate_pem)
        certificate = _content(der, 0, _SEQUENCE)[0]
        body = _content(certificate, 0, _SEQUENCE)[0]
        position = _content(body, 0, _VERSION)[1] if body[0] == _VERSION else 0
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, signature algorithm, issuer
            position = _content(body, position, tag)[1]
        validity = _content(body, position, _SEQUENCE)[0]
        begins_ns, position = _time_ns(validity, 0)
        ends_ns, _ = _time_ns(validity, position)
    except (ValueError, IndexError, binascii.Error) as error:
        raise InvalidInputError(f"expected a certificate in PEM, found other bytes: {error}") from error
    draw = int.from_bytes(hashlib.sha256(der).digest()[:8], "big") / 2**64
    return Life(begins_ns, ends_ns, draw)


def _content(der: bytes, position: int, tag: int) -> tuple[bytes, int]:
    """(content of the element at ``position``, position after it)."""
    if der[position] != tag:
        raise ValueError(f"tag {der[position]:#x} at {position}, not {tag:#x}")
    length, begin = der[position + 1], position + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise ValueError(f"a length of {size} bytes")
        length, begin = int.from_bytes(der[begin : begin + size], "big"), begin + size
    if begin + length > len(der):
        raise ValueError("it is cut off")
    return der[begin : begin + length], begin + length


def _time_ns(der: bytes, position: int) -> tuple[int, int]:
    tag = der[position]
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError(f"tag {tag:#x} is no time")
    content, following = _content(der, position, tag)
    found = _TIME.fullmatch(content)
    if found is None or (len(found[1]) == 4) is not (tag == _GENERALIZED_TIME):
        raise ValueError("a time of another form")
    year = int(found[1])
    if tag == _UTC_TIME:
        year += 2000 if year < 50 else 1900
    fields = (year, *(int(found[number]) for number in range(2, 7)))
    return calendar.timegm((*fields, 0, 0, 0)) * 10**9, following
