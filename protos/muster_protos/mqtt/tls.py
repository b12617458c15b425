"""Mutual TLS from PEM bytes. ``ssl`` wants the key in a file: it gets one in memory that nobody else can open."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from muster_protos.credentials import Credentials
from muster_protos.errors import PermanentError


def mutual_tls(credentials: Credentials) -> ssl.SSLContext:
    """TLS 1.2 or newer; the other side must bear the dialled name and a certificate of ``credentials.ca``.

    Raises:
        PermanentError: not PEM, or key and certificate do not belong together.
    """
    if not credentials.certificate:
        raise PermanentError("expected a certificate and its key, found none; join again")
    return tls_context(credentials)


def tls_context(credentials: Credentials, is_verified: bool = True) -> ssl.SSLContext:
    """The same with no certificate of ours when there is none. Without ``is_verified`` anybody will do.

    Raises:
        PermanentError: as ``mutual_tls``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if is_verified:
            context.load_verify_locations(cadata=credentials.ca.decode("ascii"))
        if credentials.certificate:
            with private_file(credentials.certificate.rstrip() + b"\n" + credentials.key) as path:
                context.load_cert_chain(path)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise PermanentError(f"expected a certificate, its key and a CA as PEM, found: {error}; join again") from error
    return context


def alert_words(text: str) -> str:
    """What OpenSSL says of an alert, without its numbers."""
    return text.partition("] ")[2].partition(" (_ssl")[0] or text


@contextmanager
def private_file(content: bytes) -> Iterator[str]:
    """A path under which this process alone finds ``content``, in memory where the system can, while the block runs."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="muster-") as file:  # 0600
            file.write(content)
            file.flush()
            yield file.name
