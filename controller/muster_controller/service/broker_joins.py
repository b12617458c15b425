"""Joins of devices that reach nothing but a broker: asked on a topic of the link's holder, answered on another.

Invariants:
- the secret does not travel: the ask proves it, and so does the answer, which nobody else can make or change;
- an ask that was answered is answered again in the same words, so that a lost answer costs no second use;
- one that is being answered just now is not answered twice;
- no lock is held over the store: an ask that waits for it keeps nobody else waiting;
- whoever cannot prove a secret of this fleet gets no answer at all.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass

from muster_controller.core.entities import Fleet, JoinToken
from muster_controller.ports import FleetAuthority, Store
from muster_controller.service.joining import Joining
from muster_protos import codec
from muster_protos.broker_join import ANSWER, ASK, NONCE_BYTES, claim_name, is_proof, prove
from muster_protos.errors import InvalidInputError, MusterError, NotAuthorisedError, TemporaryError
from muster_protos.join_link import BrokerJoinLink
from muster_protos.model import BrokerJoinAnswer, BrokerJoinAsk, BrokerJoinVerdict, JoinRequest, JoinResponse
from muster_protos.mqtt.refusals import refusal_of

_MAX_ASK_BYTES = 256 * 1024
_ANSWERS_KEPT = 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where devices reach the broker."""

    host: str
    port: int


class BrokerJoins:
    """Answers asks; thread-safe, may block."""

    def __init__(self, store: Store, authority: FleetAuthority, joining: Joining, fleet: Fleet) -> None:
        self._store = store
        self._authority = authority
        self._joining = joining
        self._fleet = fleet
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._asked: set[tuple[str, bytes]] = set()  # being answered just now
        self._broker: BrokerAddress | None = None

    def advertise(self, broker: BrokerAddress | None) -> None:
        """Say where the broker is, and answer from now on; None = there is none."""
        self._broker = broker

    def link(self, secret: str, ends_at_ns: int) -> str:
        """The line to paste on a device that reaches only the broker; "" without one."""
        broker = self._broker
        if broker is None:
            return ""
        ends_s = ends_at_ns // 10**9
        signature = self._authority.sign_claim(secret, ends_s)
        fingerprint = self._authority.ca_fingerprint()
        return BrokerJoinLink(
            broker.host, broker.port, self._fleet.fleet_id, secret, fingerprint, ends_s, signature
        ).text()

    def answer(self, name: str, payload: bytes) -> bytes | None:
        """What to tell the holder of the claim ``name``; None = nothing: not known, or being answered.

        Raises:
            InvalidInputError: the ask is malformed.
        """
        if len(payload) > _MAX_ASK_BYTES:
            raise InvalidInputError(f"expected a join of at most {_MAX_ASK_BYTES} bytes, found {len(payload)}")
        ask = codec.decode(BrokerJoinAsk, payload)
        if self._broker is None:
            return None  # just started; whoever is not heard asks again
        token = next((t for t in self._store.list_tokens() if claim_name(t.secret_sha256) == name), None)
        if token is None or len(ask.nonce) != NONCE_BYTES:
            return None
        if not is_proof(ask.proof, token.secret_sha256, ASK, ask.nonce, ask.request):
            _log.warning("a join over the broker was ignored: no proof of the secret of token %s", token.token_id)
            return None
        asked = (name, ask.nonce)
        with self._lock:  # the same ask twice at once is one join
            known = self._answers.get(asked)
            if known is not None or asked in self._asked:
                return known
            self._asked.add(asked)
        try:
            return self._answer(asked, token, ask)
        finally:
            with self._lock:
                self._asked.discard(asked)

    def _answer(self, asked: tuple[str, bytes], token: JoinToken, ask: BrokerJoinAsk) -> bytes:
        verdict, is_final = self._verdict(token, ask)
        content = codec.encode(verdict)
        proof = prove(token.secret_sha256, ANSWER, ask.nonce, content)
        answer = codec.encode(BrokerJoinAnswer(ask.nonce, content, proof))
        if is_final:
            with self._lock:
                self._answers[asked] = answer
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
        return answer

    def _verdict(self, token: JoinToken, ask: BrokerJoinAsk) -> tuple[BrokerJoinVerdict, bool]:
        """(what became of it, whether it stays so)."""
        if not ask.request:
            cas = JoinResponse(ca_pem=self._authority.ca_pem(), broker_ca_pem=self._joining.broker_ca_pem)
            return BrokerJoinVerdict(cas), False
        try:
            request = codec.decode(JoinRequest, ask.request)
            return BrokerJoinVerdict(self._joining.join(self._fleet, request, token.secret_sha256)), True
        except TemporaryError as error:
            return BrokerJoinVerdict(refusal_of(0, error)), False
        except MusterError as error:
            if isinstance(error, NotAuthorisedError):
                _log.warning("join refused: %s", error)
            return BrokerJoinVerdict(refusal_of(0, error)), True
