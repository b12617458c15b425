"""A new certificate for a known key whose certificate has run out, where only a broker is reachable.

As at the join endpoint (``renew_https.py``): a challenge, then a request that the key has signed over it. The broker
lets the device in by the certificate for this one purpose that it got at its join.
"""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlsplit

from muster_agent.https import RemovedError
from muster_agent.identity_folder import Identity
from muster_protos import codec
from muster_protos.broker_door import NONCE_BYTES, REMOVED, door_answer_topic, door_ask_topic, door_name
from muster_protos.credentials import Credentials
from muster_protos.errors import CodecError, InvalidInputError, UnreachableError
from muster_protos.join_link import DEFAULT_BROKER_PORT
from muster_protos.model import (
    BrokerDoorAnswer,
    BrokerDoorAsk,
    Refusal,
    RenewalChallenge,
    RenewRequest,
    RenewResponse,
)
from muster_protos.mqtt.refusals import error_of
from muster_protos.mqtt.visit import Visit

TIMEOUT_S = 15.0


class BrokerRenewal:
    """The door of one controller, behind a broker."""

    def __init__(self, url: str, identity: Identity, key_pem: bytes, timeout_s: float = TIMEOUT_S) -> None:
        """``url``: ``mqtts://HOST[:PORT]``.

        Raises:
            InvalidInputError: not such a URL, or the join gave no certificate for the door.
        """
        parts = urlsplit(url)
        if parts.scheme != "mqtts" or not parts.hostname:
            raise InvalidInputError(f"expected mqtts://HOST:PORT, found {url[:80]!r}")
        if not identity.door_certificate_pem:
            raise InvalidInputError("expected a certificate for the door of a broker, found none: join again")
        self._host, self._port = parts.hostname, parts.port or DEFAULT_BROKER_PORT
        self._fleet_id = identity.fleet_id
        self._name = door_name(identity.device_id)
        ca_pem = identity.broker_ca_pem or identity.ca_pem
        self._credentials = Credentials(ca_pem, identity.door_certificate_pem, key_pem)
        self._timeout_s = timeout_s

    def challenge(self) -> RenewalChallenge:
        """A one-time number and the controller's clock.

        Raises:
            UnreachableError: no broker, or no controller behind it, answers.
            NotAuthorisedError: the broker does not let us in.
        """
        found = self._ask(None)
        if not isinstance(found, RenewalChallenge):
            raise InvalidInputError("expected a challenge, found another answer; is the controller older?")
        return found

    def renew(self, certificate_pem: bytes, csr_pem: bytes) -> RenewResponse:
        """The new certificates.

        Raises:
            RemovedError: this device was removed from the fleet.
            NotAuthorisedError, InvalidInputError, TemporaryError: as the controller says.
            UnreachableError: nobody answers.
        """
        found = self._ask(RenewRequest(csr_pem, certificate_pem))
        if not isinstance(found, RenewResponse):
            raise InvalidInputError("expected a certificate, found another answer; is the controller older?")
        return found

    def _ask(self, request: RenewRequest | None) -> RenewalChallenge | RenewResponse | None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        with Visit(self._host, self._port, self._credentials, self._name, self._timeout_s) as visit:
            visit.subscribe(door_answer_topic(self._fleet_id, self._name))
            visit.publish(door_ask_topic(self._fleet_id, self._name), codec.encode(BrokerDoorAsk(nonce, request)))
            deadline_s = time.monotonic() + self._timeout_s
            while (found := visit.receive(max(0.0, deadline_s - time.monotonic()))) is not None:
                try:
                    answer = codec.decode(BrokerDoorAnswer, found[1])
                except CodecError:
                    continue
                if answer.nonce != nonce:
                    continue
                if isinstance(answer.body, Refusal):
                    raise RemovedError(answer.body.message) if answer.body.kind == REMOVED else error_of(answer.body)
                return answer.body
        raise UnreachableError(f"expected a controller behind {self._host}:{self._port}, found nobody who answers")
