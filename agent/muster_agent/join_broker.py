"""Join a fleet where only its broker is reachable. The secret of the pasted line never leaves this device.

1. A child makes the claim: a certificate that follows from the line and lets its holder say and hear what is his.
2. Over TLS that is not verified yet: which CAs are yours? The answer proves that it knows the secret; the fleet's CA in
   it must have the fingerprint in the line.
3. Over TLS that trusts those CAs alone: the join itself, proven in the same way in both directions.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass

from muster_protos import codec
from muster_protos.broker_join import ANSWER, ASK, NONCE_BYTES, answer_topic, ask_topic, claim_name, is_proof, prove
from muster_protos.broker_join import secret_sha256 as sha256_of_secret
from muster_protos.credentials import Credentials
from muster_protos.errors import (
    CodecError,
    InvalidInputError,
    NotAuthorisedError,
    PermanentError,
    TemporaryError,
    UnreachableError,
)
from muster_protos.join_link import BrokerJoinLink
from muster_protos.model import BrokerJoinAnswer, BrokerJoinAsk, BrokerJoinVerdict, JoinRequest, JoinResponse, Refusal
from muster_protos.mqtt.refusals import error_of
from muster_protos.mqtt.tls import alert_words
from muster_protos.mqtt.visit import Visit

_CHILD_TIMEOUT_S = 60.0
_REFUSAL = "refuses this certificate"  # in the words of a visit
_ANSWER_S = 5.0  # then the ask is repeated: it, or its answer, was lost
_RETRY_S = 2.0  # holders of the same line take turns at the broker, and meet again within this time


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who we are until we have joined."""

    link: BrokerJoinLink
    token_sha256: str
    certificate: bytes
    key: bytes

    @property
    def name(self) -> str:
        return claim_name(self.token_sha256)


class BrokerJoin:
    """One attempt to join."""

    def __init__(self, link: BrokerJoinLink, timeout_s: float = 60.0) -> None:
        """``timeout_s``: for each of the two exchanges."""
        self._link = link
        self._timeout_s = timeout_s
        self._answer_s = min(_ANSWER_S, timeout_s)
        self._where = f"{link.host}:{link.port}"
        self._claim = _make_claim(link)
        self._cas = JoinResponse()

    def learn_cas(self) -> JoinResponse:
        """Step 2: ``ca_pem`` and ``broker_ca_pem``, proven.

        Raises:
            NotAuthorisedError: the broker refuses the claim, or the CA is not the one in the line.
            UnreachableError: no broker, or no controller behind it, answers.
        """
        cas = self._ask(b"", Credentials(b"", self._claim.certificate, self._claim.key), is_verified=False)
        try:
            der = ssl.PEM_cert_to_DER_cert(cas.ca_pem.decode("ascii"))
        except ValueError:
            der = b""
        if hashlib.sha256(der).hexdigest() != self._link.ca_fingerprint:
            raise NotAuthorisedError(
                f"expected the fleet CA {self._link.ca_fingerprint[:16]}... behind {self._where}, found another one; "
                "ask for a new join link"
            )
        self._cas = cas
        return cas

    def ask(self, request: JoinRequest) -> JoinResponse:
        """Step 3; ``request`` without a secret.

        Raises:
            NotAuthorisedError: the secret is not (or no longer) good.
            InvalidInputError: the controller refuses the request's form.
            UnreachableError: no broker, or no controller behind it, answers.
        """
        ca_pem = self._cas.broker_ca_pem or self._cas.ca_pem
        credentials = Credentials(ca_pem, self._claim.certificate, self._claim.key)
        return self._ask(codec.encode(request), credentials, is_verified=True)

    def _ask(self, request: bytes, credentials: Credentials, is_verified: bool) -> JoinResponse:
        claim, nonce = self._claim, secrets.token_bytes(NONCE_BYTES)
        ask = codec.encode(BrokerJoinAsk(nonce, request, prove(claim.token_sha256, ASK, nonce, request)))
        deadline_s = time.monotonic() + self._timeout_s
        trouble = UnreachableError(
            f"expected the controller of fleet {self._link.fleet_id} behind the broker at {self._where}, found nobody "
            "who knows this join link; is muster up running, and is the link a recent one?"
        )
        while time.monotonic() < deadline_s:
            try:
                answer = self._exchange(ask, nonce, credentials, is_verified)
            except UnreachableError as error:
                trouble = error
            except NotAuthorisedError as error:
                if _REFUSAL in str(error):
                    raise self._worthless(str(error)) from error
                raise
            else:
                if answer is not None:
                    return answer
            time.sleep(min(_RETRY_S * random.random(), max(0.0, deadline_s - time.monotonic())))
        raise trouble

    def _worthless(self, refusal: str) -> NotAuthorisedError:
        """What the broker's refusal of the claim says of the line. Its clock and its CA count, not what we think."""
        words = alert_words(refusal.partition(_REFUSAL)[2].partition(";")[0]).strip(" :()")
        why = f"the broker at {self._where} {_REFUSAL}: {words}"
        if "expired" in words:
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._link.ends_s))
            ahead = "" if time.time() > self._link.ends_s else ", which by the clock here is to come"
            found = f"expected a join line that is still good, found one that ended at {end}{ahead} ({why})"
        else:
            found = f"expected a join line of this fleet, found one that is damaged or of another fleet ({why})"
        return NotAuthorisedError(f"{found}; make a new one: muster token new --mqtt")

    def _exchange(self, ask: bytes, nonce: bytes, credentials: Credentials, is_verified: bool) -> JoinResponse | None:
        """One visit; None when no answer came in time."""
        link, claim = self._link, self._claim
        with Visit(link.host, link.port, credentials, claim.name, _ANSWER_S, is_verified) as visit:
            visit.subscribe(answer_topic(link.fleet_id, claim.name))
            visit.publish(ask_topic(link.fleet_id, claim.name), ask)
            deadline_s = time.monotonic() + self._answer_s
            while (found := visit.receive(max(0.0, deadline_s - time.monotonic()))) is not None:
                verdict = self._read(found[1], nonce)
                if isinstance(verdict, Refusal):
                    raise error_of(verdict)
                if verdict is not None:
                    return verdict
        return None

    def _read(self, payload: bytes, nonce: bytes) -> JoinResponse | Refusal | None:
        """The proven answer to our own ask; None for anything else."""
        try:
            answer = codec.decode(BrokerJoinAnswer, payload)
        except CodecError:
            return None
        if answer.nonce != nonce:
            return None  # to somebody who holds the same line
        if not is_proof(answer.proof, self._claim.token_sha256, ANSWER, nonce, answer.verdict):
            raise NotAuthorisedError(
                f"expected an answer of the fleet at {self._where}, found one that does not prove the secret; "
                "somebody is in between"
            )
        try:
            return codec.decode(BrokerJoinVerdict, answer.verdict).body
        except CodecError as error:
            raise InvalidInputError("expected a join's verdict, found other bytes; is the controller newer?") from error


def _make_claim(link: BrokerJoinLink) -> _Claim:
    fields = {
        "secret": link.secret,
        "fleet_id": link.fleet_id,
        "ends_s": link.ends_s,
        "signature": link.signature,
    }
    try:
        child = subprocess.run(
            [sys.executable, "-m", "muster_agent.claim"],
            input=json.dumps(fields).encode(),
            capture_output=True,
            timeout=_CHILD_TIMEOUT_S,
            check=False,
            cwd="/",  # python -m looks into the current folder first: nothing there may pass for a module
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TemporaryError(f"expected the claim child to answer, found: {error}") from error
    if child.returncode != 0:
        raise PermanentError(child.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300])
    certificate, separator, key = child.stdout.partition(b"-----BEGIN PRIVATE KEY-----")
    return _Claim(link, sha256_of_secret(link.secret), certificate, separator + key)
