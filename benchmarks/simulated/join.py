"""A join through the controller's real door: the CA by its fingerprint, then the secret and a certificate request."""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from dataclasses import dataclass

from rig.identities import Identity, KeyPair

from muster_agent.redial import Redial
from muster_protos import codec
from muster_protos.credentials import Credentials
from muster_protos.join_link import JoinLink, parse_join_link
from muster_protos.model import Inventory, JoinRequest, JoinResponse

_TIMEOUT_S = 15.0  # as `muster-agent join`


class JoinRefusedError(Exception):
    """The door answers, and not with an identity."""


@dataclass(slots=True)
class JoinCount:
    """How often somebody had to knock again."""

    retries: int = 0


async def join(line: str, device_id: str, pair: KeyPair, inventory: Inventory, count: JoinCount) -> Identity:
    """Until it is in; whoever is not answered knocks again with full jitter.

    Raises:
        JoinRefusedError: the line is no good.
    """
    link, redial = parse_join_link(line), Redial(1.0, 60.0, random.random)
    request = JoinRequest(link.secret, pair.csr, inventory, device_id)
    while True:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                response = await _attempt(link, request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            count.retries += 1
            await asyncio.sleep(redial.next_s())
            continue
        credentials = Credentials(response.ca_pem, response.certificate_pem, pair.key)
        return Identity(response.fleet_id, response.device_id, credentials)


async def _attempt(link: JoinLink, request: JoinRequest) -> JoinResponse:
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE  # the fingerprint decides
    _, ca = await _exchange(link, blind, b"GET", b"/v1/ca", b"")
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.decode())).hexdigest() != link.ca_fingerprint:
        raise JoinRefusedError("expected the CA of the join link, found another one")
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(cadata=ca.decode())
    status, answer = await _exchange(link, trusting, b"POST", b"/v1/join", codec.encode(request))
    if status == 503:
        raise ConnectionError("the controller is busy")
    if status != 200:
        raise JoinRefusedError(f"HTTP {status}: {answer[:200]!r}")
    return codec.decode(JoinResponse, answer)


async def _exchange(
    link: JoinLink, context: ssl.SSLContext, method: bytes, path: bytes, body: bytes
) -> tuple[int, bytes]:
    """(status, body) of one request over a connection of its own, as the agent makes it."""
    reader, writer = await asyncio.open_connection(link.host, link.port, ssl=context, server_hostname=link.host)
    try:
        head = (
            b"%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: %d\r\n\r\n" % (method, path, link.host.encode(), len(body))
        )
        writer.write(head + body)
        header = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.read()
        return int(header.split(b" ", 2)[1]), answer
    finally:
        writer.close()
