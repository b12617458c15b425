"""A new certificate for a known key whose certificate has run out, through the controller's join endpoint.

No client certificate is needed: ``GET /v1/challenge`` gives a one-time number, the key child puts it into a certificate
request (``challengePassword``, RFC 2986), whose signature then proves the key at this very moment, and ``POST
/v1/renew`` carries it with the old certificate. The controller's certificate is checked as at the join.
"""

from __future__ import annotations

from typing import TypeVar

from muster_agent.address import host_and_port
from muster_agent.https import exchange, trusting
from muster_protos import codec
from muster_protos.errors import CodecError, InvalidInputError
from muster_protos.model import RenewalChallenge, RenewRequest, RenewResponse

TIMEOUT_S = 15.0

T = TypeVar("T")


class HttpsRenewal:
    """One controller's door for expired identities."""

    def __init__(self, url: str, ca_pem: bytes, timeout_s: float = TIMEOUT_S) -> None:
        """``url``: ``https://HOST:PORT`` of the join endpoint.

        Raises:
            InvalidInputError: not such a URL.
        """
        self._host, self._port = host_and_port(url, "https")
        self._context = trusting(ca_pem)
        self._timeout_s = timeout_s

    def challenge(self) -> RenewalChallenge:
        """A one-time number and the controller's clock; errors as ``https.exchange``."""
        return _decoded(RenewalChallenge, self._exchange("GET", "/v1/challenge", None))

    def renew(self, certificate_pem: bytes, csr_pem: bytes) -> RenewResponse:
        """The new certificates; errors as ``https.exchange``."""
        body = codec.encode(RenewRequest(csr_pem, certificate_pem))
        return _decoded(RenewResponse, self._exchange("POST", "/v1/renew", body))

    def _exchange(self, method: str, path: str, body: bytes | None) -> bytes:
        return exchange(self._host, self._port, self._context, method, path, body, self._timeout_s)


def _decoded(kind: type[T], answer: bytes) -> T:
    try:
        return codec.decode(kind, answer)
    except CodecError as error:
        raise InvalidInputError(f"expected a {kind.__name__}, found other bytes; is the controller older?") from error
