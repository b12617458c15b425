"""Who may join, under which id, and what people can do with devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from muster_controller.core.entities import JoinToken, RequestState
from muster_controller.ports import DeviceRevokedError
from muster_controller.service.bench import RunOrder
from muster_controller.service.loads import LoadOrder
from muster_controller.service.rollout import RolloutOrder
from muster_controller.service.tokens import NewToken
from muster_controller.testing_service import ONNXRUNTIME, RecordingSession, ServiceLab
from muster_controller.testing_values import make_request, make_run
from muster_protos.errors import (
    ConflictError,
    InvalidInputError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
)
from muster_protos.join_link import parse_join_link
from muster_protos.model import (
    AgentMessage,
    DeploymentState,
    Event,
    Inventory,
    JoinRequest,
    LoadPhase,
    Report,
    ReportedServing,
    ReportedState,
)

POLICY = "constraints: {p95_ms: {max: 40}}\nobjective: accuracy\n"


def csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def join(lab: ServiceLab, key: ec.EllipticCurvePrivateKey, secret: str, wish: str = "pi") -> str:
    request = JoinRequest(secret, csr(key), Inventory(cores=4, runtimes=(ONNXRUNTIME,)), wish)
    return lab.service.sessions.join(request).device_id


def test_a_token_s_link_carries_secret_and_fingerprint_and_is_listed_without_them(lab: ServiceLab) -> None:
    lab.service.joining.advertise(("grpcs://127.0.0.1:1",), "127.0.0.1", 4711)
    made = lab.service.tokens.new(note="kitchen")
    link = parse_join_link(made.link)
    assert (link.host, link.port, link.secret) == ("127.0.0.1", 4711, made.secret)
    assert link.ca_fingerprint == lab.authority.ca_fingerprint()
    assert [(token.note, token.secret_sha256) for token in lab.service.tokens.list()] == [("kitchen", "")]


def uses_left(lab: ServiceLab, made: NewToken) -> int:
    return next(token.uses_left for token in lab.store.list_tokens() if token.token_id == made.token.token_id)


def test_joining_twice_with_one_key_is_the_same_device_and_one_use(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey
) -> None:
    made = lab.service.tokens.new(uses=2)
    assert join(lab, key, made.secret) == join(lab, key, made.secret) == "pi"
    assert [device.device_id for device in lab.service.devices.every()] == ["pi"]
    assert uses_left(lab, made) == 1


def test_a_used_up_token_lets_in_nobody_but_the_device_that_used_it(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey
) -> None:
    made = lab.service.tokens.new()
    assert join(lab, key, made.secret) == "pi"
    with pytest.raises(NotAuthorisedError, match="used up"):
        join(lab, ec.generate_private_key(ec.SECP256R1()), made.secret)
    assert join(lab, key, made.secret) == "pi"
    lab.service.tokens.revoke(made.token.token_id)
    with pytest.raises(NotAuthorisedError, match="revoked"):
        join(lab, key, made.secret)


def test_a_removed_device_needs_a_use_of_its_own(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new()
    assert join(lab, key, made.secret) == "pi"
    lab.service.devices.remove("pi")
    with pytest.raises(DeviceRevokedError):
        join(lab, key, made.secret)


def test_a_removal_in_the_middle_of_a_second_try_stands(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lab.service.tokens.new()
    assert join(lab, key, made.secret) == "pi"
    issue = lab.authority.issue_door_certificate

    def removed_meanwhile(csr_pem: bytes, device_id: str) -> bytes:
        lab.service.devices.remove("pi")
        return issue(csr_pem, device_id)

    monkeypatch.setattr(lab.authority, "issue_door_certificate", removed_meanwhile)
    with pytest.raises(DeviceRevokedError):
        join(lab, key, made.secret)
    assert lab.store.get_device("pi").is_revoked
    assert not lab.service.devices.is_member("pi")


def test_a_second_try_clears_no_clones_mark(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new()
    assert join(lab, key, made.secret) == "pi"
    lab.store.put_device(replace(lab.store.get_device("pi"), cloned_at_ns=7))
    assert join(lab, key, made.secret) == "pi"
    assert lab.store.get_device("pi").cloned_at_ns == 7


def test_an_expired_token_is_no_good_for_a_second_try(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new()
    assert join(lab, key, made.secret) == "pi"
    lab.clock.advance(25 * 3600)
    with pytest.raises(NotAuthorisedError, match="expired"):
        join(lab, key, made.secret)


def test_a_second_try_while_the_first_is_on_its_way_is_told_to_wait(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, use_token = lab.service.tokens.new(), lab.store.use_token
    refusals: list[str] = []

    def slow(secret_sha256: str, now_ns: int) -> JoinToken:
        with pytest.raises(TemporaryError, match="on its way") as refused:
            join(lab, key, made.secret)
        refusals.append(str(refused.value))
        return use_token(secret_sha256, now_ns)

    monkeypatch.setattr(lab.store, "use_token", slow)
    assert join(lab, key, made.secret) == "pi"
    assert len(refusals) == 1
    assert uses_left(lab, made) == 0
    assert join(lab, key, made.secret) == "pi"


def test_a_bad_certificate_request_costs_no_use_of_the_token(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new(uses=1)
    for bad in (b"", b"no request", csr(key)[:-60]):
        with pytest.raises(InvalidInputError):
            lab.service.sessions.join(JoinRequest(made.secret, bad, Inventory(), "pi"))
    assert join(lab, key, made.secret) == "pi"


def test_a_token_never_takes_an_id_over(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new(uses=2)
    assert join(lab, key, made.secret) == "pi"
    assert join(lab, ec.generate_private_key(ec.SECP256R1()), made.secret) == "pi-2"


def test_other_hardware_under_a_freed_id_starts_anew(lab: ServiceLab, key: ec.EllipticCurvePrivateKey) -> None:
    made = lab.service.tokens.new(uses=5)
    settle(lab, key, made.secret)
    before = lab.store.get_device("pi")
    lab.service.devices.rename("pi", "Kitchen")
    lab.service.devices.remove("pi")
    lab.clock.advance(60)
    assert join(lab, ec.generate_private_key(ec.SECP256R1()), made.secret) == "pi"

    after = lab.store.get_device("pi")
    assert (after.name, after.joined_at_ns) == ("Kitchen", before.joined_at_ns)
    assert after.replaced_at_ns == lab.clock.now_ns()
    assert after.reported == ReportedState(device_id="pi")
    assert lab.store.list_pushes("pi") == ()
    assert {item.state for item in lab.store.list_deployments(device_id="pi")} == {DeploymentState.CANCELLED}
    assert RequestState.OPEN not in {load.state for load in lab.service.loads.list("pi")}
    session = lab.open_session("pi")
    assert session.wait_desired().models == ()
    say_event(lab, session, "of-the-new-one")
    assert [event.event_id for event in lab.service.events.list(kind="x")] == ["of-the-old-one", "of-the-new-one"]
    model = lab.service.models.get("kws")
    assert lab.service.selections.newest(model, "pi") is None
    (decision,) = lab.service.selections.select(model, POLICY, [after])
    assert decision.chosen is None
    measure(lab, session)
    (decision,) = lab.service.selections.select(model, POLICY, [lab.service.devices.get("pi")])
    assert decision.chosen is not None


def test_a_removed_device_that_joins_again_with_its_own_key_gets_its_life_back(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey
) -> None:
    made = lab.service.tokens.new(uses=5)
    settle(lab, key, made.secret)
    lab.service.devices.remove("pi")
    lab.clock.advance(60)
    assert join(lab, key, made.secret) == "pi"
    assert lab.store.get_device("pi").replaced_at_ns == 0
    assert len(lab.store.list_pushes("pi")) == 1
    assert {item.state for item in lab.store.list_deployments(device_id="pi")} == {DeploymentState.COMMITTED}
    assert lab.service.selections.newest(lab.service.models.get("kws"), "pi") is not None


def say_event(lab: ServiceLab, session: RecordingSession, event_id: str) -> None:
    """The first event that a device reports."""
    lab.service.sessions.messages_received(session, [AgentMessage(Report("events", 0, 1, Event(event_id, "x", 1)))])


def settle(lab: ServiceLab, key: ec.EllipticCurvePrivateKey, secret: str) -> None:
    """``pi`` joins, holds what was pushed, is measured and serves."""
    join(lab, key, secret)
    lab.add_model()
    session = lab.open_session("pi")
    say_event(lab, session, "of-the-old-one")
    measure(lab, session)
    model, device = lab.service.models.get("kws"), lab.service.devices.get("pi")
    lab.service.pushes.push(model, lab.service.models.kept(model), [device])
    lab.service.loads.start(device, LoadOrder("kws", (LoadPhase(1.0, 1000),)))
    lab.service.selections.select(model, POLICY, [device])
    rollout = lab.service.rollouts.start(model, [device], RolloutOrder())
    (deployment,) = lab.service.rollouts.deployments(rollout.rollout_id)
    for state in (DeploymentState.ACTIVATED, DeploymentState.COMMITTED):
        serving = ReportedServing("kws", deployment.deployment_id, state, "")
        lab.service.sessions.messages_received(
            session, [AgentMessage(ReportedState(device_id="pi", serving=(serving,)))]
        )
    assert lab.store.get_deployment(deployment.deployment_id).state is DeploymentState.COMMITTED


def measure(lab: ServiceLab, session: RecordingSession) -> None:
    model, device = lab.service.models.get("kws"), lab.service.devices.get("pi")
    run = lab.service.bench.start(model, lab.service.models.kept(model), [device], RunOrder(threads=(1,)))
    for number, entry in enumerate(lab.service.bench.requests(run.run_id)):
        assert lab.answer(session, entry, sequence=number + 1).rejected_reason == ""


@pytest.mark.parametrize("case", ["unknown", "used up", "expired", "revoked"])
def test_a_secret_that_is_not_good_is_refused(lab: ServiceLab, key: ec.EllipticCurvePrivateKey, case: str) -> None:
    made = lab.service.tokens.new(lifetime_s=60)
    secret = made.secret
    match case:
        case "unknown":
            secret = "x" * 32
        case "used up":
            join(lab, ec.generate_private_key(ec.SECP256R1()), secret)
        case "expired":
            lab.clock.advance(61)
        case "revoked":
            lab.service.tokens.revoke(made.token.token_id)
    with pytest.raises(NotAuthorisedError, match=case):
        join(lab, key, secret)


def test_a_certificate_is_renewed_only_for_the_device_s_own_key(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey
) -> None:
    join(lab, key, lab.service.tokens.new().secret)
    renewed = lab.service.sessions.renew("pi", csr(key))
    assert renewed.certificate_pem.startswith(b"-----BEGIN CERTIFICATE")
    assert renewed.signing_keys == lab.authority.signing_keys()
    with pytest.raises(NotAuthorisedError, match="another key"):
        lab.service.sessions.renew("pi", csr(ec.generate_private_key(ec.SECP256R1())))
    lab.service.devices.remove("pi")
    with pytest.raises(NotAuthorisedError, match="removed"):
        lab.service.sessions.renew("pi", csr(key))


def test_removal_while_a_certificate_is_renewed_leaves_none_that_is_not_revoked(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(lab, key, lab.service.tokens.new().secret)
    issue = lab.authority.issue_door_certificate

    def remove_first(csr_pem: bytes, device_id: str) -> bytes:
        lab.service.devices.remove(device_id)
        return issue(csr_pem, device_id)

    monkeypatch.setattr(lab.authority, "issue_door_certificate", remove_first)
    with pytest.raises(DeviceRevokedError):
        lab.service.sessions.renew("pi", csr(key))
    assert lab.store.get_device("pi").is_revoked


def test_removal_that_failed_half_way_is_completed_when_asked_for_again(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(lab, key, lab.service.tokens.new().secret)
    lab.store.add_run(make_run(device_ids=("pi",)), [replace(make_request(), device_id="pi")])

    def fail(*_: object, **__: object) -> None:
        raise TemporaryError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(lab.store, "list_requests", fail)
        with pytest.raises(TemporaryError):
            lab.service.devices.remove("pi")
    assert lab.store.get_device("pi").is_revoked
    assert [entry.state for entry in lab.store.list_requests(device_id="pi")] == [RequestState.OPEN]
    lab.service.devices.remove("pi")
    assert [entry.state for entry in lab.store.list_requests(device_id="pi")] == [RequestState.CANCELLED]
    assert len(lab.service.events.list(kind="device.removed")) == 1
    with pytest.raises(NotFoundError, match="was removed"):
        lab.service.devices.remove("pi")
    join(lab, key, lab.service.tokens.new().secret)
    assert lab.service.devices.remove("pi").is_revoked
    assert len(lab.service.events.list(kind="device.removed")) == 2


@pytest.mark.parametrize(("lifetime_s", "uses"), [(0, 1), (-5, 1), (1e12, 1), (60, 0), (60, 10**9)])
def test_a_senseless_token_is_refused(lab: ServiceLab, lifetime_s: float, uses: int) -> None:
    with pytest.raises(InvalidInputError):
        lab.service.tokens.new(lifetime_s, uses)


def test_a_mistyped_device_gets_the_nearest_names(lab: ServiceLab) -> None:
    for device_id in ("kitchen-pi", "kitchen-phone", "garage"):
        lab.add_device(device_id)
    with pytest.raises(NotFoundError, match='did you mean "kitchen-pi"'):
        lab.service.devices.get("kichen-pi")
    with pytest.raises(NotFoundError, match="known: garage, kitchen-phone, kitchen-pi"):
        lab.service.devices.get("zzz")


def test_devices_are_found_by_name_and_label(lab: ServiceLab) -> None:
    lab.add_device("a", {"room": "kitchen"})
    lab.add_device("b", {"room": "garage"})
    lab.service.devices.rename("a", "Küche 1")
    assert lab.service.devices.get("Küche 1").device_id == "a"
    assert [d.device_id for d in lab.service.devices.resolve([], {"room": "garage"})] == ["b"]
    assert [d.device_id for d in lab.service.devices.resolve(["all"])] == ["a", "b"]
    with pytest.raises(NotFoundError, match="room=attic"):
        lab.service.devices.resolve([], {"room": "attic"})


def test_no_device_is_called_as_another_is_known(lab: ServiceLab) -> None:
    lab.add_device("a")
    lab.add_device("b")
    lab.service.devices.rename("a", "kitchen")
    for taken in ("a", "kitchen"):
        with pytest.raises(ConflictError, match="found a; choose another"):
            lab.service.devices.rename("b", taken)
    lab.service.devices.rename("a", "kitchen")
    lab.service.devices.rename("a", "a")
    assert lab.service.devices.rename("b", "kitchen").name == "kitchen"


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 201, "two\nlines"])
def test_a_name_that_cannot_be_shown_is_refused(lab: ServiceLab, name: str) -> None:
    lab.add_device("a")
    with pytest.raises(InvalidInputError):
        lab.service.devices.rename("a", name)


def test_labels_are_merged_and_removed(lab: ServiceLab) -> None:
    lab.add_device("a", {"room": "kitchen", "floor": "1"})
    assert lab.service.devices.tag("a", {"room": "attic"}, ["floor"]).labels == {"room": "attic"}
    with pytest.raises(InvalidInputError):
        lab.service.devices.tag("a", {"two words": "x"})


def test_a_removed_device_is_gone_and_nothing_more_is_asked_of_it(lab: ServiceLab) -> None:
    lab.add_device("a")
    lab.add_model()
    model = lab.service.models.get("kws")
    run = lab.service.bench.start(
        model, lab.service.models.kept(model), [lab.service.devices.get("a")], RunOrder(threads=(1,))
    )
    lab.service.devices.remove("a")
    assert {entry.state for entry in lab.service.bench.requests(run.run_id)} == {RequestState.CANCELLED}
    assert lab.service.devices.every() == ()
    with pytest.raises(NotFoundError, match="removed"):
        lab.service.devices.get("a")


def test_a_device_without_a_fitting_runtime_is_not_asked_to_benchmark(lab: ServiceLab) -> None:
    device = lab.add_device("bare")
    bare = replace(device, inventory=replace(device.inventory, runtimes=()))
    lab.store.put_device(bare)
    lab.add_model()
    model = lab.service.models.get("kws")
    with pytest.raises(InvalidInputError, match="runtime"):
        lab.service.bench.start(model, lab.service.models.kept(model), [bare], RunOrder())


def test_no_device_gets_the_name_that_the_controller_has_at_a_broker(
    lab: ServiceLab, key: ec.EllipticCurvePrivateKey
) -> None:
    lab.service.joining.reserve("boss")
    assert join(lab, key, lab.service.tokens.new().secret, "boss") == "boss-2"
    with pytest.raises(ConflictError, match="--mqtt-cert"):
        lab.service.joining.reserve("boss-2")


def test_a_removal_that_cannot_be_written_down_can_be_tried_again(
    lab: ServiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_device("pi")
    with monkeypatch.context() as patched:

        def refuse(_device_id: str) -> None:
            raise PermanentError("the disk is full")

        patched.setattr(lab.authority, "revoke_certificates", refuse)
        with pytest.raises(PermanentError, match="full"):
            lab.service.devices.remove("pi")
    assert lab.service.devices.remove("pi").device_id == "pi"
