import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.outbox import Outbox
from muster_protos import codec
from muster_protos.errors import InvalidInputError
from muster_protos.limits import MAX_AGENT_MESSAGE_BYTES
from muster_protos.model import AgentMessage, Event, Goodbye, Hello, Progress, Report, ReportedState, Telemetry


def report(sequence: int, text: str = "") -> AgentMessage:
    return AgentMessage(Report("r", 1, sequence, Event(reason=text)))


def telemetry(at_ns: int) -> AgentMessage:
    return AgentMessage(Telemetry(at_ns=at_ns))


def rest(outbox: Outbox) -> list[AgentMessage]:
    outbox.close()
    found = []
    while (wire := outbox.take()) is not None:
        found.append(codec.from_message(AgentMessage, wire))
    return found


def test_messages_leave_in_order() -> None:
    outbox = Outbox()
    sent = [AgentMessage(Hello()), report(1), telemetry(1), AgentMessage(Progress("fetch")), report(2)]
    assert all(outbox.push(message) for message in sent)
    assert rest(outbox) == sent


def test_full_outbox_drops_the_oldest_telemetry_for_a_report() -> None:
    outbox = Outbox(max_messages=3)
    for message in (telemetry(1), report(1), telemetry(2)):
        assert outbox.push(message)
    assert outbox.push(report(2))
    assert rest(outbox) == [report(1), telemetry(2), report(2)]


def test_newest_telemetry_replaces_the_oldest() -> None:
    outbox = Outbox(max_messages=2)
    for at_ns in range(5):
        assert outbox.push(telemetry(at_ns))
    assert rest(outbox) == [telemetry(3), telemetry(4)]


def test_report_that_finds_no_room_is_refused_and_none_is_lost() -> None:
    outbox = Outbox(max_messages=2)
    assert outbox.push(report(1))
    assert outbox.push(report(2))
    assert not outbox.push(report(3))
    assert not outbox.push(telemetry(1))
    assert rest(outbox) == [report(1), report(2)]


def test_bytes_are_bounded_too() -> None:
    outbox = Outbox(max_bytes=5_000)
    assert outbox.push(report(1, "x" * 3_000))
    assert not outbox.push(report(2, "x" * 3_000))
    assert outbox.push(report(3))
    outbox.take()
    assert outbox.push(report(2, "x" * 3_000))


def test_unsent_reported_state_gives_way_to_a_newer_one() -> None:
    outbox = Outbox()
    for version in range(3):
        assert outbox.push(AgentMessage(ReportedState(desired_version=version)))
        assert outbox.push(report(version))
    states = [message for message in rest(outbox) if isinstance(message.body, ReportedState)]
    assert states == [AgentMessage(ReportedState(desired_version=2))]


def test_goodbye_always_finds_room() -> None:
    outbox = Outbox(max_messages=1)
    assert outbox.push(report(1))
    assert outbox.push(AgentMessage(Goodbye("bye")))


def test_closed_outbox_takes_nothing_and_gives_what_waits() -> None:
    outbox = Outbox()
    outbox.push(report(1))
    outbox.close()
    assert not outbox.push(report(2))
    assert rest(outbox) == [report(1)]


def test_oversized_message_is_an_error_with_the_limit() -> None:
    with pytest.raises(InvalidInputError, match=str(MAX_AGENT_MESSAGE_BYTES)):
        Outbox().push(report(1, "x" * MAX_AGENT_MESSAGE_BYTES))


def test_close_wakes_who_waits() -> None:
    outbox = Outbox()
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.append(outbox.take()))
    waiting.start()
    outbox.close()
    waiting.join(5)
    assert taken == [None]


@given(st.lists(st.sampled_from("rtps"), max_size=60), st.integers(1, 8))
def test_reports_are_kept_or_refused_never_dropped(kinds: list[str], room: int) -> None:
    outbox = Outbox(max_messages=room)
    accepted = []
    for number, kind in enumerate(kinds):
        match kind:
            case "r":
                if outbox.push(report(number)):
                    accepted.append(number)
            case "t":
                outbox.push(telemetry(number))
            case "p":
                outbox.push(AgentMessage(Progress(done=number)))
            case _:
                outbox.push(AgentMessage(ReportedState(desired_version=number)))
    left = rest(outbox)
    assert [message.body.sequence for message in left if isinstance(message.body, Report)] == accepted
    assert len(left) <= room
