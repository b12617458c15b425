"""Requests to the controller's join endpoint: TLS that trusts one CA, bounded answers, errors of our own tree.

``ssl`` and ``http`` are imported by the first request: an agent that makes none spares their memory.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster_protos.errors import (
    InvalidInputError,
    MusterError,
    NotAuthorisedError,
    TemporaryError,
    UnreachableError,
)

if TYPE_CHECKING:
    import ssl

PROTOBUF = "application/x-protobuf"
_MAX_ANSWER_BYTES = 256 * 1024
_MAX_WAIT_DIGITS = 9


class RemovedError(NotAuthorisedError):
    """This device was removed from the fleet: its identity is worth nothing any more."""


class ForeignError(NotAuthorisedError):
    """Whoever answers there is not this fleet's controller: a captive portal, say."""


def trusting(ca_pem: bytes) -> ssl.SSLContext:
    """A context that verifies chain and host name; no other root than ``ca_pem`` is loaded."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem.decode())
    return context


def exchange(
    host: str, port: int, context: ssl.SSLContext, method: str, path: str, body: bytes | None, timeout_s: float
) -> bytes:
    """The body of the answer, its last byte at most ``timeout_s`` after the call, however it comes, once connected.

    To connect (name, TCP, TLS) may take ``timeout_s`` for each address of the name and each read of the handshake.

    Raises:
        RemovedError: the controller says that this device was removed.
        ForeignError: another certificate than the fleet's.
        NotAuthorisedError: the request is refused.
        UnreachableError: nobody answers there.
        InvalidInputError, TemporaryError: as the controller says.
    """
    import http.client
    import ssl

    connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    end_s = time.monotonic() + timeout_s
    try:
        connection.connect()
        with _cut_at(end_s, connection.sock):
            connection.request(method, path, body, {"Content-Type": PROTOBUF} if body else {})
            with connection.getresponse() as response:
                answer = response.read(_MAX_ANSWER_BYTES + 1)
                retry_after = response.getheader("Retry-After", "")
    except ssl.SSLCertVerificationError as error:
        raise ForeignError(
            f"expected {host}:{port} to show a certificate of the fleet CA for its name, "
            f"found: {error.verify_message}; nothing was sent"
        ) from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: no DNS name can be so
        raise UnreachableError(
            f"expected a controller at {host}:{port}, found: {error}; is muster up running there?"
        ) from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise _refusal(response.status, answer, retry_after)
    if len(answer) > _MAX_ANSWER_BYTES:
        raise InvalidInputError(f"expected a short answer of {host}:{port}, found a long one; a captive portal?")
    return answer


@contextlib.contextmanager
def _cut_at(end_s: float, stream: socket.socket) -> Iterator[None]:
    """Break the stream off at ``end_s`` (monotonic): a time-out of each read alone never ends with a peer that drips.

    Raises:
        TimeoutError: it was, whatever else the block ended with.
    """
    is_over = threading.Event()

    def cut() -> None:
        is_over.set()
        with contextlib.suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(stream, socket.SHUT_RDWR)  # an SSLSocket's own would forget its TLS beside a read

    timer = threading.Timer(max(0.0, end_s - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_over.is_set():
            raise TimeoutError("no whole answer in time")


def _refusal(status: int, answer: bytes, retry_after: str) -> MusterError:
    from http import HTTPStatus

    try:
        reason, is_ours = str(json.loads(answer)["error"])[:500], True
    except (ValueError, KeyError, TypeError):
        reason, is_ours = f"expected a controller's answer, found HTTP {status}; is this the join port?", False
    if status == HTTPStatus.FORBIDDEN and is_ours:
        return RemovedError(reason)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NotAuthorisedError(reason)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= _MAX_WAIT_DIGITS
        return TemporaryError(reason, float(retry_after) if is_number else None)
    return InvalidInputError(reason) if 400 <= status < 500 else TemporaryError(reason)
