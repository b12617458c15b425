"""Join a fleet with a pasted line. Standard library only, and the CA is checked before the secret leaves the device.

1. ``GET /v1/ca`` without trust; its sha256 must be the fingerprint in the line.
2. A child makes the key, if there is none, and a certificate request.
3. ``POST /v1/join`` over TLS that trusts that one CA and checks the host's name; only this request carries the secret.

A line that begins with ``mqtts://`` joins over a broker instead (``join_broker.py``).
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from muster_agent.certificate import first_der
from muster_agent.https import exchange, trusting
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_protos import codec
from muster_protos.errors import (
    CodecError,
    InvalidInputError,
    NotAuthorisedError,
    PermanentError,
    TemporaryError,
    UsageError,
    as_usage,
)
from muster_protos.ids import check_id
from muster_protos.join_link import BrokerJoinLink, JoinLink, parse_any_join_link
from muster_protos.model import Inventory, JoinRequest, JoinResponse

OnStep = Callable[[str], None]

_NAMESAKE_CHARACTERS = 58  # of the wish that a controller keeps before "-2"
_BROKER_PATIENCE = 4.0  # times as long: holders of one line take turns at the broker
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def join(
    line: str,
    folder: IdentityFolder,
    inventory: Inventory,
    requested_device_id: str = "",
    timeout_s: float = 15.0,
    on_step: OnStep = lambda _: None,
) -> Identity:
    """Join through the pasted ``line`` and keep the identity in ``folder``. Joining twice is the same device.

    ``requested_device_id`` is a wish: empty asks for the id of an earlier join, else for the host's name.
    ``on_step`` hears what begins that may take seconds.

    Raises:
        UsageError: not a join link, or this folder is another device of that fleet already.
        InvalidInputError: the controller refuses the request's form.
        NotAuthorisedError: the CA is not the one in the link, or the secret is not (or no longer) good.
        UnreachableError: nobody answers there.
        PermanentError: the identity folder cannot be written.
    """
    link = parse_any_join_link(line)
    wish = check_name(link, folder, requested_device_id) or requested_device_id or usual_wish(folder)
    with as_usage():
        check_id(wish, "device id")
    asked = JoinRequest(inventory=inventory, requested_device_id=wish)
    if isinstance(link, BrokerJoinLink):
        identity = _over_broker(link, folder, asked, timeout_s, on_step)
    else:
        identity = _over_https(link, folder, asked, timeout_s, on_step)
    check_pair(identity, folder)
    folder.write(identity)
    return identity


def _over_https(
    link: JoinLink, folder: IdentityFolder, asked: JoinRequest, timeout_s: float, on_step: OnStep
) -> Identity:
    on_step(f"asking {link.host}:{link.port} for the fleet's CA")
    ca_pem = _fetch_ca(link, timeout_s)
    folder.create()
    on_step("making a key and a certificate request")
    asked = replace(asked, secret=link.secret, csr_pem=make_request(folder.key_path))
    on_step(f"joining at {link.host}:{link.port}")
    try:
        answer = exchange(link.host, link.port, trusting(ca_pem), "POST", "/v1/join", codec.encode(asked), timeout_s)
    except NotAuthorisedError as error:
        raise NotAuthorisedError(f"{error}{_earlier(folder, ca_pem)}") from error
    try:
        response = codec.decode(JoinResponse, answer)
    except CodecError as error:
        raise InvalidInputError("expected a JoinResponse, found other bytes; is the controller newer?") from error
    return _identity(response, ca_pem, door_url=link.endpoint())


def _over_broker(
    link: BrokerJoinLink, folder: IdentityFolder, asked: JoinRequest, timeout_s: float, on_step: OnStep
) -> Identity:
    from muster_agent.join_broker import BrokerJoin  # paho is not needed otherwise

    on_step("making what lets this device in at the broker")
    attempt = BrokerJoin(link, _BROKER_PATIENCE * timeout_s)
    on_step(f"asking the controller behind the broker at {link.host}:{link.port} for the fleet's CA")
    ca_pem = attempt.learn_cas().ca_pem
    folder.create()
    on_step("making a key and a certificate request")
    asked = replace(asked, csr_pem=make_request(folder.key_path))
    on_step(f"joining over the broker at {link.host}:{link.port}")
    try:
        response = attempt.ask(asked)
    except NotAuthorisedError as error:
        raise NotAuthorisedError(f"{error}{_earlier(folder, ca_pem)}") from error
    identity = _identity(response, ca_pem)
    reached = sorted(identity.links, key=lambda url: not url.startswith("mqtts:"))  # what has worked comes first
    return replace(identity, links=tuple(reached))


def make_request(key_path: Path, challenge: bytes = b"", timeout_s: float = 60.0) -> bytes:
    """A certificate request (PEM) for the key at ``key_path``; the child makes the key when there is none.

    With a ``challenge`` the request holds it, and the key must be there.
    """
    proof = [base64.b64encode(challenge).decode()] if challenge else []
    try:
        child = subprocess.run(
            [sys.executable, "-m", "muster_agent.keys", str(key_path.absolute()), *proof],
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",  # python -m looks into the current folder first: nothing there may pass for a module
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TemporaryError(f"expected the key child to answer, found: {error}") from error
    if child.returncode != 0:
        raise PermanentError(child.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300])
    return child.stdout


def default_device_id(host_name: str) -> str:
    """An id from a host's name: its first label, with foreign characters replaced."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", host_name.split(".")[0]).strip("-._")[:64]
    return text or "device"


def check_name(link: JoinLink | BrokerJoinLink, folder: IdentityFolder, requested_device_id: str) -> str:
    """The id that this folder has in the link's fleet; "" where it has none. A folder is one device of a fleet: under
    another name it would leave the first behind as one that nobody is. ``cam`` may have become ``cam-2`` there.

    Raises:
        UsageError: it joined that fleet under another name.
    """
    earlier = _read_earlier(folder)
    if earlier is None:
        return ""
    try:
        fingerprint = hashlib.sha256(first_der(earlier.ca_pem)).hexdigest()
    except ValueError:
        return ""  # damaged: this join mends it
    if fingerprint != link.ca_fingerprint:
        return ""
    namesake = re.escape(requested_device_id[:_NAMESAKE_CHARACTERS]) + r"-\d+"
    if requested_device_id not in ("", earlier.device_id) and not re.fullmatch(namesake, earlier.device_id):
        raise UsageError(
            f"expected no --id or --id {earlier.device_id} as this folder joined that fleet as {earlier.device_id}, "
            f"found --id {requested_device_id}; to become another device: muster-agent leave here, and "
            f"muster device rm {earlier.device_id} on the controller"
        )
    return earlier.device_id


def usual_wish(folder: IdentityFolder) -> str:
    """The id to ask for when nobody named one: that of an earlier join, else the host's name."""
    earlier = _read_earlier(folder)
    return earlier.device_id if earlier else default_device_id(socket.gethostname())


def _read_earlier(folder: IdentityFolder) -> Identity | None:
    try:
        return folder.read()
    except PermanentError:
        return None  # damaged: this join mends it


def _fetch_ca(link: JoinLink, timeout_s: float) -> bytes:
    """The CA of the link as PEM, whatever else the answer holds: only the certificate with this fingerprint counts."""
    import ssl

    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE  # the fingerprint decides, and nothing secret is sent here
    answer = exchange(link.host, link.port, blind, "GET", "/v1/ca", None, timeout_s)
    for pem in _PEM.findall(answer):
        try:
            der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
        except ValueError:
            continue
        if hashlib.sha256(der).hexdigest() == link.ca_fingerprint:
            return ssl.DER_cert_to_PEM_cert(der).encode()
    raise NotAuthorisedError(
        f"expected the fleet CA {link.ca_fingerprint[:16]}... at {link.host}:{link.port}, found another one; "
        "the secret was not sent: ask for a new join link, and if it happens again, somebody is in between"
    )


def _earlier(folder: IdentityFolder, ca_pem: bytes) -> str:
    """A hint for somebody who pastes a used line again on a device that is in the fleet already."""
    earlier = _read_earlier(folder)
    if earlier is None or first_der(earlier.ca_pem) != first_der(ca_pem):
        return ""
    return (
        f"; this device joined that fleet before as {earlier.device_id} and keeps that identity: nothing is lost, "
        "go on with muster-agent run; a new secret is needed only after the device was removed from the fleet"
    )


def _identity(response: JoinResponse, ca_pem: bytes, door_url: str = "") -> Identity:
    """``ca_pem``: the one whose fingerprint was checked, whatever the answer says."""
    if not response.signing_keys or not response.links:
        raise InvalidInputError("expected signing keys and a link in the answer, found none; is the controller up?")
    return Identity(
        fleet_id=check_id(response.fleet_id, "fleet id"),
        device_id=check_id(response.device_id, "device id"),
        certificate_pem=response.certificate_pem,
        ca_pem=ca_pem,
        signing_keys=response.signing_keys,
        links=response.links,
        key_set_version=response.key_set_version or 1,
        door_url=door_url,
        broker_ca_pem=response.broker_ca_pem,
        door_certificate_pem=response.door_certificate_pem,
    )


def check_pair(identity: Identity, folder: IdentityFolder) -> None:
    """The certificate must be for our key; OpenSSL checks the pair while loading it.

    Raises:
        InvalidInputError: it is for another.
        PermanentError: the folder cannot be written.
    """
    import ssl  # an agent on gRPC renews once in days

    candidate = folder.folder / ".candidate.pem"
    try:
        candidate.write_bytes(identity.certificate_pem)
        trusting(identity.ca_pem).load_cert_chain(candidate, folder.key_path)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError("expected a certificate for this device's key, found another; join again") from error
    except OSError as error:
        raise PermanentError(f"expected to write {folder.folder}, found: {error.strerror}") from error
    finally:
        candidate.unlink(missing_ok=True)
