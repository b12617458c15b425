from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from muster_agent.join import make_request
from muster_controller.core.entities import JoinToken
from muster_controller.service.broker_joins import BrokerAddress
from muster_controller.testing_service import ServiceLab
from muster_protos import codec
from muster_protos.broker_join import ANSWER, ASK, claim_name, is_proof, prove, secret_sha256
from muster_protos.errors import InvalidInputError
from muster_protos.join_link import BrokerJoinLink, parse_any_join_link
from muster_protos.model import (
    BrokerJoinAnswer,
    BrokerJoinAsk,
    BrokerJoinVerdict,
    Inventory,
    JoinRequest,
    JoinResponse,
    Refusal,
)

NONCE = b"n" * 16


class Holder:
    """Somebody with a join link."""

    def __init__(self, lab: ServiceLab, csr_pem: bytes, uses: int = 1) -> None:
        self._joins = lab.service.broker_joins
        self._joins.advertise(BrokerAddress("broker.example", 8883))
        self.made = lab.service.tokens.new(uses=uses)
        self.token = secret_sha256(self.made.secret)
        self.request = codec.encode(JoinRequest("", csr_pem, Inventory(cores=4), "kitchen"))

    def ask(self, request: bytes, nonce: bytes = NONCE, proof: bytes | None = None) -> BrokerJoinAnswer | None:
        proof = prove(self.token, ASK, nonce, request) if proof is None else proof
        answer = self._joins.answer(claim_name(self.token), codec.encode(BrokerJoinAsk(nonce, request, proof)))
        return None if answer is None else codec.decode(BrokerJoinAnswer, answer)

    def verdict(self, request: bytes, nonce: bytes = NONCE) -> JoinResponse | Refusal | None:
        answer = self.ask(request, nonce)
        assert answer is not None
        assert answer.nonce == nonce
        assert is_proof(answer.proof, self.token, ANSWER, nonce, answer.verdict)
        return codec.decode(BrokerJoinVerdict, answer.verdict).body


@pytest.fixture(scope="module")
def csr_pem(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_request(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture(scope="module")
def other_csr_pem(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_request(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture
def holder(lab: ServiceLab, csr_pem: bytes) -> Holder:
    return Holder(lab, csr_pem)


def test_link_says_everything_that_a_device_needs(lab: ServiceLab, holder: Holder) -> None:
    link = parse_any_join_link(holder.made.broker_link)
    assert isinstance(link, BrokerJoinLink)
    assert (link.host, link.port, link.secret) == ("broker.example", 8883, holder.made.secret)
    assert link.fleet_id == lab.service.fleets.fleet.fleet_id
    assert link.ca_fingerprint == lab.authority.ca_fingerprint()
    assert link.secret not in repr(link)


def test_cas_cost_no_use_and_the_join_costs_one(lab: ServiceLab, holder: Holder) -> None:
    cas = holder.verdict(b"")
    assert isinstance(cas, JoinResponse)
    assert cas == JoinResponse(ca_pem=lab.authority.ca_pem())
    joined = holder.verdict(holder.request, b"m" * 16)
    assert isinstance(joined, JoinResponse)
    assert joined.device_id == "kitchen"
    assert lab.store.get_device("kitchen").inventory.cores == 4
    assert lab.service.tokens.list()[-1].uses_left == 0


def test_lost_answer_comes_again_in_the_same_words(holder: Holder) -> None:
    assert holder.ask(holder.request) == holder.ask(holder.request)


def test_ask_that_waits_for_the_store_is_joined_once_and_keeps_nobody_waiting(
    lab: ServiceLab, csr_pem: bytes, other_csr_pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = Holder(lab, csr_pem, uses=2), Holder(lab, other_csr_pem)
    use_token, has_come, may_go = lab.store.use_token, threading.Event(), threading.Event()

    def wait(token_sha256: str, now_ns: int) -> JoinToken:
        if token_sha256 == slow.token:
            has_come.set()
            assert may_go.wait(10)
        return use_token(token_sha256, now_ns)

    monkeypatch.setattr(lab.store, "use_token", wait)
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(slow.verdict, slow.request)
        assert has_come.wait(10)
        assert slow.ask(slow.request) is None
        assert isinstance(other.verdict(other.request, b"o" * 16), JoinResponse)
        may_go.set()
        assert isinstance(joining.result(10), JoinResponse)
    assert slow.ask(slow.request) is not None
    assert [token.uses_left for token in lab.store.list_tokens() if token.secret_sha256 == slow.token] == [1]


def test_used_up_expired_and_revoked_links_are_refused(lab: ServiceLab, csr_pem: bytes, other_csr_pem: bytes) -> None:
    other = codec.encode(JoinRequest("", other_csr_pem, Inventory(cores=4), "kitchen"))
    for end in (
        lambda holder: holder.verdict(other, b"1" * 16),
        lambda holder: lab.service.tokens.revoke(holder.made.token.token_id),
        lambda holder: lab.clock.advance(25 * 3600),
    ):
        holder = Holder(lab, csr_pem)
        end(holder)
        refusal = holder.verdict(holder.request, b"2" * 16)
        assert isinstance(refusal, Refusal)
        assert refusal.kind == "not_authorised"


def test_who_cannot_prove_the_secret_gets_no_answer_and_costs_no_use(lab: ServiceLab, holder: Holder) -> None:
    stranger = prove(secret_sha256("another"), ASK, NONCE, holder.request)
    changed = prove(holder.token, ASK, NONCE, holder.request + b"x")
    for proof in (b"", stranger, changed, prove(holder.token, ANSWER, NONCE, holder.request)):
        assert holder.ask(holder.request, proof=proof) is None
    assert holder.ask(holder.request, nonce=b"short") is None
    assert lab.service.tokens.list()[-1].uses_left == 1


def test_link_of_another_fleet_gets_no_answer(lab: ServiceLab, holder: Holder) -> None:
    ask = BrokerJoinAsk(NONCE, holder.request, prove(secret_sha256("other"), ASK, NONCE, holder.request))
    name = claim_name(secret_sha256("other"))
    assert lab.service.broker_joins.answer(name, codec.encode(ask)) is None


def test_malformed_requests_are_told_apart(lab: ServiceLab, holder: Holder) -> None:
    refusal = holder.verdict(codec.encode(replace(codec.decode(JoinRequest, holder.request), csr_pem=b"none")))
    assert isinstance(refusal, Refusal)
    assert refusal.kind == "invalid_input"
    for payload in (b"\xff", b"x" * 300_000):
        with pytest.raises(InvalidInputError):
            lab.service.broker_joins.answer(claim_name(holder.token), payload)


def test_without_a_broker_there_is_no_such_link(lab: ServiceLab) -> None:
    assert lab.service.tokens.new().broker_link == ""


def test_nobody_is_answered_before_the_broker_is_advertised(lab: ServiceLab, holder: Holder) -> None:
    lab.service.broker_joins.advertise(None)
    assert holder.ask(holder.request) is None
    lab.service.broker_joins.advertise(BrokerAddress("broker.example", 8883))
    assert isinstance(holder.verdict(holder.request), JoinResponse)
