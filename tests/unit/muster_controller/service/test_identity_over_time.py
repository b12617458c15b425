"""Clocks, clones, keys and certificates of devices, as the service handles them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster_agent.join import make_request
from muster_controller.core.unfold import TAKEN
from muster_controller.ports import DeviceRevokedError
from muster_controller.service.service import EVENTS_KEPT_S
from muster_controller.service.tokens import TOKENS_KEPT_S
from muster_controller.testing_service import RecordingSession, ServiceLab
from muster_protos import codec
from muster_protos.errors import InvalidInputError, NotAuthorisedError
from muster_protos.model import (
    AgentMessage,
    Desired,
    DesiredState,
    Event,
    Hello,
    Inventory,
    JoinRequest,
    Report,
    SessionTerms,
    Telemetry,
)

YEAR_NS = 365 * 86_400 * 10**9


def say(lab: ServiceLab, session: RecordingSession, *bodies: object) -> None:
    lab.service.sessions.messages_received(session, [AgentMessage(body) for body in bodies])  # type: ignore[arg-type]


def hello(run_id: str, boot_id: str = "boot", clock_ns: int = 0) -> Hello:
    return Hello(Inventory(boot_id=boot_id, clock_ns=clock_ns), run_id=run_id)


def push(lab: ServiceLab, device_id: str) -> None:
    """A model with two variants on its way to the device."""
    lab.add_model()
    model = lab.service.models.get("kws")
    lab.service.pushes.push(model, lab.service.models.kept(model), [lab.service.devices.get(device_id)])


def events(lab: ServiceLab, kind: str) -> list[str]:
    return [event.reason for event in lab.service.events.list(kind=kind)]


class AddressedRecording(RecordingSession):
    """A session of a link that knows addresses."""

    address = "192.0.2.7:40112"


# ---- terms and clocks ----


def test_a_session_before_the_doors_are_open_learns_no_door(lab: ServiceLab) -> None:
    lab.add_device("pi")
    assert lab.open_session("pi").sent[0].body == SessionTerms(lab.clock.now_ns(), "")


def test_the_first_word_of_a_session_is_the_time_and_the_door(lab: ServiceLab) -> None:
    lab.service.joining.advertise(("grpcs://127.0.0.1:1",), "127.0.0.1", 8472)
    lab.add_device("pi")
    terms = lab.open_session("pi").sent[0].body
    assert terms == SessionTerms(lab.clock.now_ns(), "https://127.0.0.1:8472")


@pytest.mark.parametrize("clock_ns", [0, 2**63 - 1, -(2**63), 1_800_000_000 * 10**9 + 10 * YEAR_NS])
def test_the_offset_of_any_clock_is_noted(lab: ServiceLab, clock_ns: int) -> None:
    lab.add_device("pi")
    say(lab, lab.open_session("pi"), hello("run", clock_ns=clock_ns))
    offset_ns = lab.store.get_device("pi").clock_offset_ns
    assert offset_ns == max(-(2**62), min(clock_ns - lab.clock.now_ns(), 2**62))


@pytest.mark.parametrize("wrong_by_ns", [-50 * YEAR_NS, 10 * YEAR_NS])
def test_a_sample_of_an_absurd_clock_counts_as_taken_now_and_is_pruned_in_time(
    lab: ServiceLab, wrong_by_ns: int
) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    now_ns = lab.clock.now_ns()
    say(lab, session, Telemetry(at_ns=now_ns + wrong_by_ns), Telemetry(at_ns=now_ns - 10**9))
    assert sorted(s.at_ns for s in lab.store.list_telemetry("pi", 0)) == [now_ns - 10**9, now_ns]
    lab.clock.advance(8 * 86_400)
    lab.service.clean()
    assert lab.store.list_telemetry("pi", 0) == ()


# ---- clones ----


def test_two_agents_that_take_turns_are_an_event_with_both_and_a_mark_at_the_device(lab: ServiceLab) -> None:
    lab.add_device("pi")
    say(lab, AddressedRecording("pi"), hello("run-a", "boot-a"))
    say(lab, RecordingSession("pi", link="mqtt"), hello("run-b", "boot-b"))
    assert events(lab, "identity.cloned") == []
    for _ in range(3):
        say(lab, AddressedRecording("pi"), hello("run-a", "boot-a"))
        say(lab, RecordingSession("pi", link="mqtt"), hello("run-b", "boot-b"))
    (reason,) = events(lab, "identity.cloned")
    assert "192.0.2.7:40112 (boot boot-a, run run-a)" in reason
    assert "unknown address (boot boot-b, run run-b)" in reason
    assert "muster device rm pi" in reason
    assert lab.store.get_device("pi").cloned_at_ns == lab.clock.now_ns()


def test_clones_are_told_within_the_hour_also_after_the_clock_was_set_back(lab: ServiceLab) -> None:
    lab.add_device("pi")
    for _ in range(2):
        for run in ("run-a", "run-b", "run-a"):
            say(lab, RecordingSession("pi"), hello(run, f"boot-{run}"))
        lab.clock.jump(-YEAR_NS / 1e9)
        lab.clock.advance(3601)
    assert len(events(lab, "identity.cloned")) == 2


def test_an_agent_that_restarts_on_every_boot_is_never_called_a_clone(lab: ServiceLab) -> None:
    lab.add_device("pi")
    for number in range(20):
        say(lab, RecordingSession("pi"), hello(f"run-{number}"), hello(f"run-{number}"))
    assert events(lab, "identity.cloned") == []


def test_a_clones_report_under_a_number_that_is_taken_is_refused_and_never_called_stored(lab: ServiceLab) -> None:
    """I2: what is acknowledged without a reason is stored, once, and it is this report that is stored."""
    lab.add_device("pi")
    one, other = lab.open_session("pi"), lab.open_session("pi")
    mine, theirs = (Report("events", 0, 7, Event(event_id=name, kind="x.y", at_ns=1)) for name in ("a", "b"))
    say(lab, one, mine)
    say(lab, other, theirs, replace(theirs, sequence=8))
    say(lab, one, mine)
    assert [(ack.sequence, ack.rejected_reason) for ack in one.acks()] == [(7, ""), (7, "")]
    assert [(ack.sequence, ack.rejected_reason) for ack in other.acks()] == [(7, TAKEN), (8, "")]
    stored = [event.event_id for event in lab.service.events.list(device_id="pi", kind="x.y")]
    assert stored == ["a", "b"]
    assert len(lab.store.list_reports("pi").items) == 2


def test_the_same_number_twice_in_one_batch_is_stored_once_and_refused_once(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    first, second = (Report("events", 0, 7, Event(event_id=name, kind="x.y")) for name in ("a", "b"))
    say(lab, session, first, first, second)
    assert len(lab.store.list_reports("pi").items) == 1
    assert TAKEN in {ack.rejected_reason for ack in session.acks()}


# ---- keys ----


def test_a_rotation_signs_everything_again_and_raises_every_version(lab: ServiceLab, tmp_path: Path) -> None:
    lab.add_device("pi")
    lab.add_device("bare")
    push(lab, "pi")
    lab.service.desired.refresh("bare")
    before = {name: lab.store.desired(name) for name in ("pi", "bare")}
    shown = lab.service.keys.rotate(0)
    assert [key.is_signing for key in shown] == [True, False]
    assert shown[1].is_retired
    for name, old in before.items():
        row = lab.store.desired(name)
        assert row is not None
        assert old is not None
        assert row.version > old.version
        lab.authority.verifier.verify((row.envelope,))
        for model in codec.decode(DesiredState, row.envelope.payload).models:
            lab.authority.verifier.verify(model.manifests)
    assert [event.details["set"] for event in lab.service.events.list(kind="key.rotated")] == ["2"]


def test_a_desired_state_travels_with_the_chain_that_proves_it(lab: ServiceLab) -> None:
    lab.add_device("pi")
    session = lab.open_session("pi")
    lab.service.keys.rotate()
    session.wait_desired(above=1)
    sent = [message.body for message in session.sent if isinstance(message.body, Desired)]
    assert sent[-1].key_sets == lab.authority.key_sets()
    assert len(sent[-1].key_sets) == 1


def test_a_controller_that_was_killed_right_after_a_rotation_signs_again_at_its_start(lab: ServiceLab) -> None:
    lab.add_device("pi")
    push(lab, "pi")
    lab.authority.rotate_signing_key(0)
    old = lab.store.desired("pi")
    assert old is not None
    with pytest.raises(NotAuthorisedError):
        lab.authority.verifier.verify((old.envelope,))
    lab.service.start()
    row = lab.store.desired("pi")
    assert row is not None
    lab.authority.verifier.verify((row.envelope,))
    assert lab.service.keys.sign_again() == 0


def test_what_a_rotation_missed_is_signed_with_the_next_cleaning(lab: ServiceLab) -> None:
    lab.add_device("pi")
    push(lab, "pi")
    lab.authority.rotate_signing_key(0)
    lab.service.clean()
    row = lab.store.desired("pi")
    assert row is not None
    lab.authority.verifier.verify((row.envelope,))
    assert lab.service.keys.sign_again() == 0


@pytest.mark.parametrize("overlap_s", [-1.0, 400 * 86_400.0, float("nan")])
def test_absurd_overlaps_are_refused(lab: ServiceLab, overlap_s: float) -> None:
    with pytest.raises(InvalidInputError, match="overlap"):
        lab.service.keys.rotate(overlap_s)


# ---- tokens, renewals, removal ----


def test_spent_tokens_are_forgotten_a_week_after_their_end(lab: ServiceLab) -> None:
    lab.service.tokens.new(lifetime_s=60)
    lab.clock.advance(60 + TOKENS_KEPT_S)
    lab.service.clean()
    assert len(lab.service.tokens.list()) == 1
    lab.clock.advance(1)
    lab.service.clean()
    assert lab.service.tokens.list() == ()


def test_cleaning_prunes_events_and_forgets_removed_devices_but_tells_no_end_again(
    lab: ServiceLab, tmp_path: Path
) -> None:
    csr = make_request(tmp_path / "key.pem")
    lab.service.sessions.join(JoinRequest(lab.service.tokens.new().secret, csr, Inventory(), "pi"))
    session = RecordingSession("pi")
    lab.service.sessions.session_opened(session)
    say(lab, session, hello("r", clock_ns=lab.clock.now_ns() + 10**9))
    lab.service.events.record("benchmark.finished", details={"run": "run-1"})
    assert lab.service.sessions.worst_clock()[1] == "pi"
    lab.service.devices.remove("pi")
    lab.clock.advance(EVENTS_KEPT_S + 1)
    lab.service.events.record("device.joined", "pi-2")
    lab.service.clean()
    assert [event.kind for event in lab.service.events.list()] == ["benchmark.finished", "device.joined"]
    assert lab.service.sessions.worst_clock() == (None, "")


def test_a_removed_device_is_told_so_at_the_join_even_with_a_worthless_secret(lab: ServiceLab, tmp_path: Path) -> None:
    csr = make_request(tmp_path / "key.pem")
    new = lab.service.tokens.new()
    request = JoinRequest(new.secret, csr, Inventory(), "pi")
    lab.service.sessions.join(request)
    lab.service.devices.remove("pi")
    with pytest.raises(DeviceRevokedError, match="removed from the fleet, and join token"):
        lab.service.sessions.join(request)
    with pytest.raises(NotAuthorisedError, match="used up") as stranger:
        lab.service.sessions.join(replace(request, csr_pem=make_request(tmp_path / "other.pem")))
    assert not isinstance(stranger.value, DeviceRevokedError)


def test_a_removed_device_is_refused_a_renewal(lab: ServiceLab, tmp_path: Path) -> None:
    csr = make_request(tmp_path / "key.pem")
    lab.service.sessions.join(JoinRequest(lab.service.tokens.new().secret, csr, Inventory(), "pi"))
    lab.service.sessions.renew("pi", csr)
    lab.service.devices.remove("pi")
    with pytest.raises(DeviceRevokedError):
        lab.service.sessions.renew("pi", csr)
    assert lab.store.get_device("pi").is_revoked
