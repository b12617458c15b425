"""The line that a person pastes to join a device: ``https://HOST:PORT#MST1.<secret>.<ca fingerprint>``.

Where only a broker is reachable: ``mqtts://HOST:PORT/<fleet>#MST1.<secret>.<ca fingerprint>.<end>.<signature>``.

The part after ``#`` never leaves the device as part of a URL. The fingerprint (sha256 over the CA certificate's DER)
lets the device check the CA before it sends the secret, as in K3s' token form (https://docs.k3s.io/cli/token).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from muster_protos.errors import UsageError

VERSION = "MST1"
DEFAULT_PORT = 8472
DEFAULT_BROKER_PORT = 8883

_TOKEN = re.compile(r"MST1\.([A-Za-z0-9_-]{16,128})\.([0-9a-f]{64})")
_BROKER_TOKEN = re.compile(r"MST1\.([A-Za-z0-9_-]{16,128})\.([0-9a-f]{64})\.([1-9][0-9]{0,10})\.([A-Za-z0-9_-]{86})")
_FLEET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPECTED_BROKER = (
    "expected a join link like mqtts://HOST:8883/<fleet>#MST1.<secret>.<ca fingerprint>.<end>.<signature>"
)
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")  # names beyond ASCII in their xn-- form
_EXPECTED = "expected a join link like https://HOST:8472#MST1.<secret>.<ca fingerprint>"


@dataclass(frozen=True, slots=True)
class JoinLink:
    """Where to join, the one-time secret and the CA that may see it."""

    host: str  # DNS name or IP address, without brackets
    port: int
    secret: str
    ca_fingerprint: str  # sha256 of the CA certificate's DER, lower-case hex

    def text(self) -> str:
        """The pasteable line. It holds the secret: never log it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}#{VERSION}.{self.secret}.{self.ca_fingerprint}"

    def endpoint(self) -> str:
        """``https://HOST:PORT`` alone."""
        return self.text().partition("#")[0]

    def __repr__(self) -> str:
        return f"JoinLink({self.host}:{self.port}, secret hidden)"


def parse_join_link(text: str) -> JoinLink:
    """Read a pasted line.

    Raises:
        UsageError: it is not a join link; the message never repeats the secret.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{_EXPECTED}, found an address that does not parse") from error
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"{_EXPECTED}, found no https://HOST (is the line quoted and complete?)")
    if not _HOST.fullmatch(parts.hostname):
        raise UsageError(f"{_EXPECTED}, found a host that is neither a DNS name nor an address")
    if parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        raise UsageError(f"{_EXPECTED}, found more than a host and a port before the #")
    token = _TOKEN.fullmatch(parts.fragment)
    if token is None:
        raise UsageError(f"{_EXPECTED}, found another form after the # (is the line quoted and complete?)")
    return JoinLink(parts.hostname, DEFAULT_PORT if port is None else port, token.group(1), token.group(2))


@dataclass(frozen=True, slots=True)
class BrokerJoinLink:
    """Where to join over a broker, the one-time secret, the CA, and what makes the claim (``broker_join.py``)."""

    host: str  # DNS name or IP address, without brackets
    port: int
    fleet_id: str
    secret: str
    ca_fingerprint: str  # sha256 of the CA certificate's DER, lower-case hex
    ends_s: int  # of the claim, since 1970
    signature: str  # the CA's, under the claim

    def text(self) -> str:
        """The pasteable line. It holds the secret: never log it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        token = f"{VERSION}.{self.secret}.{self.ca_fingerprint}.{self.ends_s}.{self.signature}"
        return f"mqtts://{host}:{self.port}/{self.fleet_id}#{token}"

    def __repr__(self) -> str:
        return f"BrokerJoinLink({self.host}:{self.port}, secret hidden)"


def parse_any_join_link(text: str) -> JoinLink | BrokerJoinLink:
    """Read a pasted line of either kind.

    Raises:
        UsageError: it is not a join link; the message never repeats the secret.
    """
    if not text.strip().startswith("mqtts:"):
        return parse_join_link(text)
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{_EXPECTED_BROKER}, found an address that does not parse") from error
    token = _BROKER_TOKEN.fullmatch(parts.fragment)
    if token is None:
        raise UsageError(f"{_EXPECTED_BROKER}, found another form after the # (is the line quoted and complete?)")
    host, fleet_id = parts.hostname or "", parts.path.strip("/")
    if not _HOST.fullmatch(host) or parts.query or "@" in parts.netloc or not _FLEET.fullmatch(fleet_id):
        raise UsageError(f"{_EXPECTED_BROKER}, found something else before the #")
    secret, fingerprint, ends, signature = token.groups()
    return BrokerJoinLink(
        host,
        DEFAULT_BROKER_PORT if port is None else port,
        fleet_id,
        secret,
        fingerprint,
        int(ends),
        signature,
    )
