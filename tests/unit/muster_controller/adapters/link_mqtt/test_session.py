"""What a session publishes, in which order; and what waits to be published over all sessions."""

from __future__ import annotations

import pytest

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Outgoing, Packet
from muster_controller.adapters.link_mqtt.session import BrokerSession
from muster_controller.adapters.link_mqtt.twins import Twins
from muster_protos import codec
from muster_protos.model import (
    ControllerMessage,
    Desired,
    DownMessage,
    Goodbye,
    Greeting,
    ReportAck,
    SignedEnvelope,
    Welcome,
)
from muster_protos.mqtt.topics import DeviceTopics, Down

TOPICS = DeviceTopics("lab", "pi-1")


class Line:
    """A session and what it has told."""

    def __init__(self, max_messages: int = 100) -> None:
        self.ended: list[BrokerSession] = []
        self.session = BrokerSession(
            TOPICS, "s1", Greeting("c1", "k1", "r1"), max_messages, lambda _: None, self.ended.append
        )

    def packets(self) -> list[Packet]:
        found = []
        while (packet := self.session.next_packet()) is not None:
            found.append(packet)
            if packet.on_done is not None:
                packet.on_done()
        return found

    def downs(self) -> list[DownMessage]:
        return [
            codec.decode(DownMessage, packet.payload) for packet in self.packets() if packet.topic != TOPICS.desired
        ]


def acknowledgement(number: int) -> ControllerMessage:
    return ControllerMessage(ReportAck("events", 1, number))


def desired(number: int) -> ControllerMessage:
    return ControllerMessage(Desired(SignedEnvelope("t", str(number).encode())))


def test_nothing_is_said_before_the_welcome() -> None:
    line = Line()
    line.session.send(acknowledgement(1))
    line.session.send(desired(1))
    assert line.packets() == []
    line.session.welcome()
    assert [packet.topic for packet in line.packets()] == [
        TOPICS.down(Down.WELCOME),
        TOPICS.down(Down.ACK),
        TOPICS.desired,
    ]


def test_desired_state_is_retained_for_any_session_and_only_the_newest_is_sent() -> None:
    line = Line()
    line.session.welcome()
    for number in range(10):
        line.session.send(desired(number))
    (packet,) = [packet for packet in line.packets() if packet.topic == TOPICS.desired]
    assert packet.is_retained
    assert codec.decode(ControllerMessage, packet.payload) == desired(9)


def test_messages_are_numbered_and_tell_what_was_taken() -> None:
    line = Line()
    line.session.welcome()
    line.session.send(acknowledgement(1))
    line.session.took(5)
    line.session.send(acknowledgement(2))
    downs = line.downs()
    assert [down.body for down in downs] == [Welcome(), acknowledgement(1), acknowledgement(2)]
    assert [down.sequence for down in downs] == [0, 1, 2]
    assert downs[-1].taken_sequence == 5


def test_what_was_taken_is_told_even_when_there_is_nothing_else_to_say() -> None:
    line = Line()
    line.session.welcome()
    line.packets()
    line.session.took(7)
    line.session.took(9)
    assert line.downs() == [DownMessage("s1", 0, 9)]
    assert line.downs() == []


def test_goodbye_comes_after_what_waits_and_is_the_last_word() -> None:
    line = Line()
    line.session.welcome()
    line.session.send(acknowledgement(1))
    line.session.close("enough", retry_after_ms=5)
    line.session.close("again")
    line.session.send(acknowledgement(2))
    downs = line.downs()
    assert [down.body for down in downs[1:]] == [acknowledgement(1), ControllerMessage(Goodbye("enough", False, 5))]
    assert line.ended == [line.session]
    assert line.session.is_over
    line.session.took(3)
    assert line.packets() == []


def test_revocation_drops_what_waits() -> None:
    line = Line()
    line.session.welcome()
    line.packets()
    line.session.send(acknowledgement(1))
    line.session.send(desired(1))
    line.session.close("removed", is_revoked=True)
    assert [down.body for down in line.downs()] == [ControllerMessage(Goodbye("removed", is_revoked=True))]


def test_device_that_does_not_read_is_closed_not_buffered() -> None:
    line = Line(max_messages=10)
    line.session.welcome()
    for number in range(20):
        line.session.send(acknowledgement(number))
    assert "too slow" in line.session.close_reason
    assert len(line.packets()) == 13  # welcome, eleven, goodbye


def test_session_whose_device_is_gone_says_nothing() -> None:
    line = Line()
    line.session.welcome()
    line.session.send(acknowledgement(1))
    line.session.break_off("the connection broke")
    line.session.send(acknowledgement(2))
    assert line.packets() == []
    assert line.session.close_reason == "the connection broke"


class Many:
    """A source with so many packets."""

    def __init__(self, name: str, count: int) -> None:
        self._left = [Packet(name, b"")] * count

    def next_packet(self) -> Packet | None:
        return self._left.pop() if self._left else None


def test_sessions_and_posted_packets_take_turns() -> None:
    outgoing = Outgoing(lambda: None)
    outgoing.add(Many("a", 3))
    outgoing.add(Many("b", 3))
    for _ in range(2):
        outgoing.post(Packet("p", b""))
    topics = []
    while packets := outgoing.next_packets():
        topics += [packet.topic for packet in packets]
    assert topics == ["p", "a", "p", "b", "a", "b", "a", "b"]


def test_thousands_of_sessions_with_nothing_to_say_are_no_harm() -> None:
    outgoing = Outgoing(lambda: None)
    for _ in range(5000):
        outgoing.add(Many("a", 0))
    outgoing.add(Many("b", 1))
    assert [packet.topic for packet in outgoing.next_packets()] == ["b"]
    assert outgoing.next_packets() == ()


def test_what_is_given_up_is_told() -> None:
    outgoing, done = Outgoing(lambda: None), []
    outgoing.post(Packet("p", b"", on_done=lambda: done.append("p")))
    outgoing.add(Many("a", 1))
    outgoing.clear()
    assert done == ["p"]
    assert outgoing.next_packets() == ()


def test_replaced_run_stays_away_for_a_while_and_others_do_not() -> None:
    twins = Twins(30.0)
    twins.replaced("pi-1", "r1", 100.0)
    assert twins.stay_away_s("pi-1", "r1", 110.0) == 20.0
    assert twins.stay_away_s("pi-1", "r1", 131.0) == 0.0
    assert twins.stay_away_s("pi-1", "r2", 110.0) == 0.0
    assert twins.stay_away_s("pi-2", "r1", 110.0) == 0.0


def test_drops_are_counted_and_told_once_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    drops = Drops()
    for second in range(25):
        drops.note("pi-1", "too large\nand more", float(second))
    drops.note("", "nobody's topic", 0.0)
    assert drops.count == 26
    told = [record.message for record in caplog.records]
    assert told == [
        "a message of device pi-1 was dropped: too large and more",
        "a message of device pi-1 was dropped: too large and more (and 9 more before it)",
        "a message of device pi-1 was dropped: too large and more (and 9 more before it)",
        "a message at the broker was dropped: nobody's topic",
    ]
