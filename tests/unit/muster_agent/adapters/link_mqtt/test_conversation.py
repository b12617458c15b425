"""The agent's rules of a session, without a network: time comes in, what is published is looked at."""

from __future__ import annotations

import pytest

from muster_agent.adapters.link_mqtt.conversation import Conversation
from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_agent.testing_link import RecordingLinkSink
from muster_protos import codec
from muster_protos.errors import UnreachableError
from muster_protos.limits import MAX_CONTROLLER_MESSAGE_BYTES, MAX_UNTAKEN_BYTES, MAX_UNTAKEN_MESSAGES
from muster_protos.model import (
    AgentMessage,
    Block,
    BlockRequest,
    Chunk,
    ControllerMessage,
    Desired,
    DownMessage,
    Event,
    Goodbye,
    Greeting,
    Hello,
    LinkPresence,
    Progress,
    Report,
    ReportAck,
    ReportedState,
    SignedEnvelope,
    Telemetry,
    UpMessage,
    Welcome,
)
from muster_protos.mqtt.topics import LOSSY, DeviceTopics, Down, Up, controller_presence
from muster_protos.v1 import link_pb2

TOPICS = DeviceTopics("lab", "pi-1")
TIMING = LinkTiming(retry_base_s=4.0)


class Wire:
    """The broker, as far as the conversation sees it."""

    def __init__(self) -> None:
        self.has_room = True
        self.published: list[tuple[str, bytes, int, bool]] = []

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> None:
        self.published.append((topic, payload, qos, retain))

    def ups(self, topic: str) -> list[UpMessage]:
        return [codec.decode(UpMessage, payload) for each, payload, _, _ in self.published if each == topic]


class Stage:
    """A device that is connected and subscribed at time 0."""

    def __init__(self, draw: float = 0.5) -> None:
        self.wire = Wire()
        self.sink = RecordingLinkSink()
        self.now_s = 0.0
        self.talk = Conversation(TOPICS, "run1", self.sink, TIMING, lambda: draw, lambda: None, 0.0)
        self.talk.attach(self.wire)

    def at(self, now_s: float) -> None:
        self.now_s = now_s
        self.talk.step(now_s)

    def controller(self, connection_id: str, is_online: bool = True) -> None:
        presence = codec.encode(LinkPresence(connection_id, is_online))
        self.talk.received(controller_presence("lab"), presence, self.now_s)
        self.talk.step(self.now_s)

    def down(self, message: DownMessage, kind: Down = Down.ACK) -> None:
        self.talk.received(TOPICS.down(kind), codec.encode(message), self.now_s)
        self.talk.step(self.now_s)

    def greetings(self) -> list[UpMessage]:
        return self.wire.ups(TOPICS.up(Up.GREETING))

    def welcome(self) -> str:
        """The controller lets the session in that was asked for last."""
        session_id = self.greetings()[-1].session_id
        self.down(DownMessage(session_id, body=Welcome()), Down.WELCOME)
        return session_id


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def online(stage: Stage) -> Stage:
    stage.controller("k1")
    stage.welcome()
    assert stage.sink.calls == ["online"]
    return stage


def report(number: int, size: int = 0) -> AgentMessage:
    return AgentMessage(Report("events", 1, number, Event(reason="x" * size)))


def acknowledgement(number: int) -> ControllerMessage:
    return ControllerMessage(ReportAck("events", 1, number))


def test_nobody_is_greeted_before_the_controller_is_there(stage: Stage) -> None:
    stage.at(100.0)
    assert stage.greetings() == []
    assert stage.talk.is_waiting(100.0)
    assert not stage.talk.is_waiting(0.5)


def test_controller_that_is_there_already_is_greeted_at_once(stage: Stage) -> None:
    stage.controller("k1")
    (greeting,) = stage.greetings()
    assert greeting.body == Greeting(stage.talk.connection_id, "k1", "run1")
    assert greeting.session_id
    assert stage.sink.calls == []


def test_controller_that_comes_later_is_greeted_with_jitter(stage: Stage) -> None:
    stage.at(100.0)
    stage.controller("k1")
    stage.at(101.9)
    assert stage.greetings() == []
    stage.at(102.0)  # half of the base delay of four seconds
    assert len(stage.greetings()) == 1


def test_unanswered_greeting_ends_the_connection(stage: Stage) -> None:
    stage.controller("k1")
    stage.at(TIMING.connect_timeout_s - 0.1)
    assert stage.talk.end is None
    stage.at(TIMING.connect_timeout_s)
    assert stage.talk.end is not None
    assert "expected a welcome" in stage.talk.end.reason


def test_welcome_of_another_session_is_nothing(stage: Stage) -> None:
    stage.controller("k1")
    stage.down(DownMessage("another", body=Welcome()), Down.WELCOME)
    assert stage.sink.calls == []


def test_second_welcome_is_nothing(online: Stage) -> None:
    online.welcome()
    assert online.sink.calls == ["online"]


def test_restarted_controller_is_greeted_again_under_a_new_session_id(online: Stage) -> None:
    first = online.greetings()[0].session_id
    online.now_s = 50.0
    online.controller("k2")
    assert online.sink.calls[-1].startswith("offline: the controller was started again")
    online.at(52.0)
    assert len(online.greetings()) == 2
    second = online.welcome()
    assert second != first
    assert online.sink.calls[-1] == "online"
    assert online.talk.end is None


def test_lost_controller_ends_the_session_and_not_the_connection(online: Stage) -> None:
    online.controller("k1", is_online=False)
    assert online.sink.calls[-1] == "offline: the controller has left the broker"
    assert online.talk.end is None
    assert online.talk.session is None


def test_late_will_of_an_earlier_controller_is_nothing(online: Stage) -> None:
    online.controller("k0", is_online=False)
    assert online.sink.calls == ["online"]


def test_presence_said_twice_does_not_greet_twice(online: Stage) -> None:
    online.controller("k1")
    online.at(60.0)
    assert len(online.greetings()) == 1


def test_goodbye_is_passed_on_and_ends_the_connection(online: Stage) -> None:
    session_id = online.greetings()[0].session_id
    goodbye = Goodbye("removed", is_revoked=True)
    online.down(DownMessage(session_id, 1, body=ControllerMessage(goodbye)), Down.GOODBYE)
    assert online.sink.messages == [ControllerMessage(goodbye)]
    assert online.talk.end is not None
    assert online.talk.end.goodbye == goodbye


def test_goodbye_to_a_session_that_lasted_leaves_the_connection_and_greets_again(online: Stage) -> None:
    session_id = online.greetings()[0].session_id
    online.at(100.0)
    goodbye = Goodbye("the controller stops", retry_after_ms=3000)
    online.down(DownMessage(session_id, 1, body=ControllerMessage(goodbye)), Down.GOODBYE)
    assert online.sink.messages == [ControllerMessage(goodbye)]
    assert online.sink.calls[-1] == "offline: the controller stops"
    assert online.talk.end is None
    online.at(104.9)
    assert len(online.greetings()) == 1
    online.at(105.0)  # three seconds, and half of the base delay of four
    assert len(online.greetings()) == 2


def test_controller_that_said_goodbye_and_left_is_waited_for(online: Stage) -> None:
    session_id = online.greetings()[0].session_id
    online.at(100.0)
    online.down(DownMessage(session_id, 1, body=ControllerMessage(Goodbye("the controller stops"))), Down.GOODBYE)
    online.controller("k1", is_online=False)
    online.at(200.0)
    assert len(online.greetings()) == 1
    online.controller("k2")
    online.at(202.0)
    assert len(online.greetings()) == 2
    assert online.sink.calls == ["online", "offline: the controller stops"]


def test_revocation_ends_the_connection_of_a_session_that_lasted_too(online: Stage) -> None:
    session_id = online.greetings()[0].session_id
    online.at(100.0)
    goodbye = ControllerMessage(Goodbye("removed", is_revoked=True))
    online.down(DownMessage(session_id, 1, body=goodbye), Down.GOODBYE)
    assert online.talk.end is not None
    assert online.talk.end.goodbye is not None


def test_refusal_of_a_greeting_is_passed_on_without_a_session(stage: Stage) -> None:
    stage.controller("k1")
    session_id = stage.greetings()[0].session_id
    stage.down(DownMessage(session_id, body=ControllerMessage(Goodbye("no", is_revoked=True))), Down.GOODBYE)
    assert stage.sink.calls == []
    assert stage.sink.messages == [ControllerMessage(Goodbye("no", is_revoked=True))]
    assert stage.talk.end is not None


def test_messages_of_the_controller_come_once_and_in_order(online: Stage) -> None:
    session_id = online.greetings()[0].session_id
    for number in (2, 2, 1, 3, 1, 3):
        online.down(DownMessage(session_id, number, body=acknowledgement(number)))
    assert online.sink.messages == [acknowledgement(number) for number in (1, 2, 3)]


def test_message_of_the_controller_that_stays_away_ends_the_connection(online: Stage) -> None:
    online.down(DownMessage(online.greetings()[0].session_id, 2, body=acknowledgement(2)))
    online.at(9.0)
    assert online.talk.end is None
    online.at(11.0)
    assert online.talk.end is not None


def test_what_waits_for_its_turn_is_bounded_in_bytes(online: Stage) -> None:
    session_id = online.greetings()[-1].session_id
    large = ControllerMessage(ReportAck("events", 1, 1, "x" * (MAX_CONTROLLER_MESSAGE_BYTES // 2 - 100)))
    online.down(DownMessage(session_id, 2, body=large))
    online.down(DownMessage(session_id, 3, body=large))
    assert online.talk.end is None
    online.down(DownMessage(session_id, 4, body=large))
    assert online.talk.end is not None


def test_retained_desired_state_waits_for_the_session(stage: Stage) -> None:
    desired = ControllerMessage(Desired(SignedEnvelope("t", b"7")))
    stage.talk.received(TOPICS.desired, codec.encode(desired), 0.0)
    assert stage.sink.messages == []
    stage.controller("k1")
    stage.welcome()
    assert stage.sink.messages == [desired]


def test_desired_state_that_comes_twice_is_told_once(online: Stage) -> None:
    for version in (b"7", b"7", b"8", b"8"):
        message = ControllerMessage(Desired(SignedEnvelope("t", version)))
        online.talk.received(TOPICS.desired, codec.encode(message), 0.0)
    assert [message.body.envelope.payload for message in online.sink.messages] == [b"7", b"8"]  # type: ignore[union-attr]


def test_cleared_or_damaged_desired_state_is_nothing(online: Stage) -> None:
    for payload in (b"", b"\xff\xff\xff", codec.encode(acknowledgement(1))):
        online.talk.received(TOPICS.desired, payload, 0.0)
    assert online.sink.messages == []
    assert online.talk.end is None


def test_every_kind_has_its_topic_and_all_but_the_lossy_ones_are_numbered(online: Stage) -> None:
    assert online.talk.session is not None
    sent = [Hello(), ReportedState(), Report(), Telemetry(), Progress(), Goodbye()]
    for body in sent:
        online.talk.session.outbox.push(AgentMessage(body))
    online.at(1.0)
    published = [each for each in online.wire.published if each[0] not in (TOPICS.presence, TOPICS.up(Up.GREETING))]
    kinds = [Up.HELLO, None, Up.REPORT, Up.TELEMETRY, Up.PROGRESS, Up.GOODBYE]
    assert [topic for topic, _, _, _ in published] == [TOPICS.up(kind) if kind else TOPICS.reported for kind in kinds]
    assert [qos for _, _, qos, _ in published] == [0 if kind in LOSSY else 1 for kind in kinds]
    assert [retain for _, _, _, retain in published] == [kind is None for kind in kinds]
    messages = [codec.decode(UpMessage, payload) for _, payload, _, _ in published]
    assert [message.sequence for message in messages] == [1, 2, 3, 0, 0, 4]
    assert [message.body.body for message in messages] == sent  # type: ignore[union-attr]


def test_every_message_of_an_agent_has_a_topic() -> None:
    for field in link_pb2.AgentMessage.DESCRIPTOR.fields:
        assert field.name == "reported_state" or Up(field.name)


def test_no_more_is_sent_than_the_controller_may_have_waiting(online: Stage) -> None:
    assert online.talk.session is not None
    for number in range(1, 200):
        online.talk.session.outbox.push(report(number))
    online.at(1.0)
    assert len(online.wire.ups(TOPICS.up(Up.REPORT))) == MAX_UNTAKEN_MESSAGES
    online.down(DownMessage(online.greetings()[0].session_id, taken_sequence=10))
    assert len(online.wire.ups(TOPICS.up(Up.REPORT))) == MAX_UNTAKEN_MESSAGES + 10


def test_large_messages_go_one_by_one(online: Stage) -> None:
    assert online.talk.session is not None
    for number in (1, 2):
        online.talk.session.outbox.push(report(number, MAX_UNTAKEN_BYTES))
    online.at(1.0)
    assert len(online.wire.ups(TOPICS.up(Up.REPORT))) == 1
    online.down(DownMessage(online.greetings()[0].session_id, taken_sequence=1))
    assert len(online.wire.ups(TOPICS.up(Up.REPORT))) == 2


def test_claim_to_have_taken_what_was_never_sent_is_harmless(online: Stage) -> None:
    assert online.talk.session is not None
    online.down(DownMessage(online.greetings()[0].session_id, taken_sequence=10**9))
    online.talk.session.outbox.push(report(1))
    online.at(1.0)
    assert online.talk.session.taken == 0
    assert len(online.wire.ups(TOPICS.up(Up.REPORT))) == 1


def test_controller_that_takes_nothing_ends_the_connection(online: Stage) -> None:
    assert online.talk.session is not None
    online.at(1000.0)
    assert online.talk.end is None  # nothing was sent
    online.talk.session.outbox.push(report(1))
    online.at(1001.0)
    online.at(1001.0 + TIMING.stall_timeout_s)
    assert online.talk.end is None
    online.at(1002.0 + TIMING.stall_timeout_s)
    assert online.talk.end is not None


def test_controller_whose_word_waits_behind_blocks_is_not_given_up(online: Stage) -> None:
    session = online.talk.session
    assert session is not None
    session.outbox.push(report(1))
    online.at(1.0)
    for number in range(1, 5):
        online.at(1.0 + number * (TIMING.stall_timeout_s - 1.0))
        online.down(DownMessage(session.session_id, body=Block(9, Chunk(0, b"x", 1))), Down.BLOCK)
    assert online.talk.end is None
    online.at(online.now_s + TIMING.stall_timeout_s + 1.0)
    assert online.talk.end is not None


def test_nothing_is_queued_in_a_connection_without_room(online: Stage) -> None:
    assert online.talk.session is not None
    online.wire.has_room = False
    online.talk.session.outbox.push(report(1))
    online.at(1.0)
    assert online.wire.ups(TOPICS.up(Up.REPORT)) == []


def test_questions_pass_when_the_controller_takes_no_reports(online: Stage) -> None:
    session = online.talk.session
    assert session is not None
    for number in range(1, 200):
        session.outbox.push(report(number))
    online.at(1.0)
    with session.calls.opened() as call:
        call.ask(BlockRequest(call.request_id, "a" * 64, 0))
        online.at(2.0)
    assert len(online.wire.ups(TOPICS.up(Up.FETCH))) == 1


def test_end_of_the_session_ends_what_waits_for_answers(online: Stage) -> None:
    session = online.talk.session
    assert session is not None
    with session.calls.opened() as call:
        online.talk.finish("the connection broke")
        with pytest.raises(UnreachableError, match="the connection broke"):
            call.wait(1.0)
    with pytest.raises(UnreachableError), session.calls.opened():
        pass
    assert not session.outbox.push(report(1))


def test_more_answers_than_were_asked_for_are_not_kept(online: Stage) -> None:
    session = online.talk.session
    assert session is not None
    with session.calls.opened() as call:
        call.ask(BlockRequest(call.request_id, "a" * 64, 0))
        for _ in range(3):
            payload = b"\n\x10" + online.greetings()[0].session_id.encode() + b"2\x02\x08\x01"  # Block(request_id=1)
            online.talk.received(TOPICS.down(Down.BLOCK), payload, 0.0)
        assert call.wait(0.1) is not None
        assert call.wait(0.0) is None


def test_presence_is_retained_with_the_id_of_the_will(stage: Stage) -> None:
    topic, payload, qos, retain = stage.wire.published[0]
    assert (topic, qos, retain) == (TOPICS.presence, 1, True)
    assert codec.decode(LinkPresence, payload) == LinkPresence(stage.talk.connection_id, True)
    assert codec.decode(LinkPresence, stage.talk.will()) == LinkPresence(stage.talk.connection_id, False)
