"""The agent's own reader of a certificate's life agrees with cryptography's, and refuses everything else."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.certificate import read_life
from muster_protos.errors import InvalidInputError

UTC = datetime.timezone.utc
KEY = ec.generate_private_key(ec.SECP256R1())
moments = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 30), timezones=st.just(UTC))


def certificate(begins: datetime.datetime, ends: datetime.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pi-1")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number(), begins, ends)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


@settings(max_examples=60, deadline=None)
@given(moments, moments)
def test_every_moment_is_read_as_cryptography_reads_it(one: datetime.datetime, other: datetime.datetime) -> None:
    begins, ends = sorted((one.replace(microsecond=0), other.replace(microsecond=0)))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=UTC)
    life = read_life(certificate(begins, ends))
    assert (life.begins_ns, life.ends_ns) == tuple(round((at - epoch).total_seconds()) * 10**9 for at in (begins, ends))
    assert 0 <= life.draw < 1


@pytest.mark.parametrize("content", [b"", b"cert", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        read_life(content)


SAMPLE = certificate(datetime.datetime(2026, 1, 1, tzinfo=UTC), datetime.datetime(2026, 1, 8, tzinfo=UTC))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_certificate_is_refused_or_read_and_never_breaks(data: st.DataObject) -> None:
    lines = SAMPLE.splitlines()
    body = bytearray(b"".join(lines[1:-1]))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    try:
        read_life(b"\n".join((lines[0], bytes(body[: data.draw(st.integers(0, len(body)))]), lines[-1], b"")))
    except InvalidInputError:
        return
