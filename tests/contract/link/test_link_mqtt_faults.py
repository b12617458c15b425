"""What a broker between the ends can do to a session: die, keep what is old, deliver twice, carry what is hostile."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_protos import codec
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import TemporaryError
from muster_protos.limits import BLOCK_BYTES
from muster_protos.model import (
    AgentMessage,
    Chunk,
    ControllerMessage,
    Desired,
    DesiredState,
    DownMessage,
    Event,
    Goodbye,
    Greeting,
    LinkPresence,
    Report,
    ReportAck,
    SignedEnvelope,
    UpMessage,
    Welcome,
)
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import DeviceTopics, Up, controller_presence

FLEET = "lab"
MIB = 1024 * 1024


def report(sequence: int, text: str = "") -> AgentMessage:
    return AgentMessage(Report("events", 1, sequence, Event(event_id=f"e{sequence}", reason=text)))


def desired(version: int) -> ControllerMessage:
    return ControllerMessage(
        Desired(SignedEnvelope("muster.v1.DesiredState", codec.encode(DesiredState(version=version))))
    )


def content_of(size: int) -> tuple[str, bytes]:
    content = random.Random(size).randbytes(size)
    return hashlib.sha256(content).hexdigest(), content


def bodies(sink: Any, kind: type) -> list[Any]:
    return [message.body for message in sink.messages if isinstance(message.body, kind)]


class RawPeer:
    """Somebody with a certificate of the fleet who says what a test wants, below the rules of a link."""

    def __init__(self, port: int, name: str, credentials: Credentials, topics: tuple[str, ...]) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.connection = BrokerConnection(
            Endpoint("127.0.0.1", port, name),
            Patience(keepalive_s=5, connect_timeout_s=5.0, window=10_000),
            Will(f"muster/1/{FLEET}/{name.strip('_')}/presence", b""),
            lambda topic, payload, _: self.got.append((topic, payload)),
        )
        self.connection.open(credentials, topics)
        self._is_gone = False

    def leave(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self.connection.close(is_clean=True)

    def say(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self.connection.publish(topic, payload, qos, retain)

    def wait(self, is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_true():
            assert time.monotonic() < deadline_s, f"not within {timeout_s} s; got {self.got[-5:]}"
            self.connection.turn(0.05)

    def settle(self) -> None:
        """Until the broker has taken everything."""
        self.wait(lambda: self.connection.is_settled)


class RawDevice(RawPeer):
    """A device that greets like one, and then does as it likes."""

    def __init__(self, pair: Any, device_id: str) -> None:
        self.topics = DeviceTopics(FLEET, device_id)
        self.session_id = "0123456789abcdef"
        super().__init__(pair.port, device_id, pair.admit(device_id), self.topics.subscriptions())

    def greet(self, session_id: str = "0123456789abcdef", controller_id: str = "") -> None:
        """Ask for a session."""
        self.session_id = session_id
        self.wait(lambda: bool(self.controllers()))
        greeting = Greeting("c1", controller_id or self.controllers()[-1].connection_id, "run1")
        self.say(self.topics.up(Up.GREETING), codec.encode(UpMessage(session_id, body=greeting)))

    def enter(self) -> None:
        """Ask for a session and get it."""
        self.greet()
        self.wait(lambda: any(isinstance(message.body, Welcome) for message in self.downs()))

    def report(self, sequence: int, number: int | None = None) -> None:
        message = UpMessage(self.session_id, sequence, report(number or sequence))
        self.say(self.topics.up(Up.REPORT), codec.encode(message))

    def controllers(self) -> list[LinkPresence]:
        found = [codec.decode(LinkPresence, p) for topic, p in self.got if topic == controller_presence(FLEET)]
        return [presence for presence in found if presence.is_online]

    def downs(self) -> list[DownMessage]:
        return [codec.decode(DownMessage, payload) for topic, payload in self.got if "/down/" in topic]

    def controller_messages(self, kind: type) -> list[Any]:
        found = [message.body for message in self.downs() if isinstance(message.body, ControllerMessage)]
        return [message.body for message in found if isinstance(message.body, kind)]


@pytest.fixture
def raw_device(mqtt_pair: Any) -> Iterator[Callable[[str], RawDevice]]:
    made: list[RawDevice] = []

    def make(device_id: str) -> RawDevice:
        made.append(RawDevice(mqtt_pair, device_id))
        return made[-1]

    yield make
    for each in made:
        each.leave()


@pytest.fixture
def raw_controller(mqtt_pair: Any) -> Iterator[Callable[[], RawPeer]]:
    """Takes the controller's place at the broker; stop the pair's first."""
    made: list[RawPeer] = []

    def make() -> RawPeer:
        made.append(
            RawPeer(mqtt_pair.port, CONTROLLER, mqtt_pair.broker.credentials(), (f"muster/1/{FLEET}/+/desired",))
        )
        return made[-1]

    yield make
    for each in made:
        each.leave()


class TestBrokerDies:
    def test_session_is_back_on_both_ends_and_nothing_is_doubled(self, mqtt_pair: Any) -> None:
        link, agent = mqtt_pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        assert link.send(report(1))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 1)
        mqtt_pair.broker.kill()
        agent.wait_for(lambda: agent.calls.count("online") == 2, 20.0)
        assert link.send(report(1))
        assert link.send(report(2))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 3)
        assert len(mqtt_pair.sink.reports) == 2
        assert [call for call, _ in mqtt_pair.sink.calls] == ["opened", "closed", "opened"]

    def test_fetch_goes_on_where_it_was(self, mqtt_pair: Any) -> None:
        sha256, content = content_of(8 * MIB)
        mqtt_pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = mqtt_pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        got = bytearray()

        def take(chunk: Chunk) -> None:
            assert chunk.offset == len(got)
            got.extend(chunk.data)
            if len(got) == 20 * BLOCK_BYTES:
                mqtt_pair.broker.kill()
                agent.wait_for(lambda: any(call.startswith("offline") for call in agent.calls))

        with pytest.raises(TemporaryError):
            link.fetch(sha256, 0, take, threading.Event())
        assert 20 * BLOCK_BYTES <= len(got) < len(content)
        agent.wait_for(lambda: agent.calls.count("online") == 2, 20.0)
        link.fetch(sha256, len(got), take, threading.Event())
        assert bytes(got) == content


class TestControllerDies:
    def test_agent_hears_of_it_stays_at_the_broker_and_greets_the_next_one(
        self, mqtt_pair: Any, tmp_path: Path
    ) -> None:
        mqtt_pair.stop_controller()
        with mqtt_pair.controller_process(tmp_path / "own") as controller:
            link, agent = mqtt_pair.device("pi-1")
            agent.wait_for(lambda: "online" in agent.calls)
            controller.kill()
            agent.wait_for(lambda: len(agent.calls) == 2)
            assert agent.calls[1] == "offline: the controller has left the broker"
            assert not link.send(report(1))
        with mqtt_pair.controller_process(tmp_path / "own"):
            agent.wait_for(lambda: agent.calls.count("online") == 2)
            assert link.send(report(1))
            agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 1)
        assert mqtt_pair.proxies["pi-1"].connections == 1

    def test_fetch_ends_as_a_temporary_error_and_resumes_with_the_next_one(
        self, mqtt_pair: Any, tmp_path: Path
    ) -> None:
        mqtt_pair.stop_controller()
        got = bytearray()
        with mqtt_pair.controller_process(tmp_path / "own") as controller:
            link, agent = mqtt_pair.device("pi-1")
            agent.wait_for(lambda: "online" in agent.calls)

            def take(chunk: Chunk) -> None:
                assert chunk.offset == len(got)
                got.extend(chunk.data)
                if len(got) == 20 * BLOCK_BYTES:
                    controller.kill()

            with pytest.raises(TemporaryError):
                link.fetch("a" * 64, 0, take, threading.Event())
        assert 20 * BLOCK_BYTES <= len(got) < 16 * MIB
        with mqtt_pair.controller_process(tmp_path / "own"):
            agent.wait_for(lambda: agent.calls.count("online") == 2)
            link.fetch("a" * 64, len(got), take, threading.Event())
        assert len(got) == 16 * MIB

    def test_controller_that_lost_the_broker_closes_its_sessions_and_opens_new_ones(
        self, mqtt_pair: Any, tcp_proxy: Any
    ) -> None:
        mqtt_pair.stop_controller()
        proxy = tcp_proxy(mqtt_pair.port)
        mqtt_pair.start_controller(proxy.port)
        _, agent = mqtt_pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        proxy.reset()
        agent.wait_for(lambda: agent.calls.count("online") == 2)
        assert [call for call, _ in mqtt_pair.sink.calls] == ["opened", "closed", "opened"]
        assert mqtt_pair.sink.close_reasons == ["the connection to the broker broke"]


class TestRetained:
    def test_stale_desired_state_is_followed_by_the_newest_one(self, mqtt_pair: Any) -> None:
        first, agent = mqtt_pair.device("pi-1")
        mqtt_pair.sink.wait_for(lambda: mqtt_pair.sink.opened)
        mqtt_pair.sink.opened[0].send(desired(3))
        agent.wait_for(lambda: agent.messages)
        first.close()
        _, second = mqtt_pair.twin("pi-1")
        mqtt_pair.sink.wait_for(lambda: len(mqtt_pair.sink.opened) == 2)
        second.wait_for(lambda: second.messages)
        mqtt_pair.sink.opened[1].send(desired(7))
        second.wait_for(lambda: len(second.messages) == 2)
        assert second.messages == [desired(3), desired(7)]

    def test_desired_state_of_a_removed_device_is_cleared(
        self, mqtt_pair: Any, raw_controller: Callable[[], RawPeer]
    ) -> None:
        _, agent = mqtt_pair.device("pi-1")
        _, other = mqtt_pair.device("pi-2")
        mqtt_pair.sink.wait_for(lambda: len(mqtt_pair.sink.opened) == 2)
        for session in mqtt_pair.sink.opened:
            session.send(desired(3))
        agent.wait_for(lambda: agent.messages)
        other.wait_for(lambda: other.messages)
        mqtt_pair.book.revoke("pi-1")
        next(each for each in mqtt_pair.sink.opened if each.device_id == "pi-1").close("removed", is_revoked=True)
        agent.wait_for(lambda: len(agent.calls) == 2)
        mqtt_pair.stop_controller()
        looking = raw_controller()
        looking.wait(lambda: bool(looking.got))
        looking.settle()
        assert [topic for topic, _ in looking.got] == [DeviceTopics(FLEET, "pi-2").desired]

    def test_desired_state_of_a_device_removed_while_offline_is_cleared(
        self, mqtt_pair: Any, raw_controller: Callable[[], RawPeer]
    ) -> None:
        for device_id in ("pi-1", "pi-2"):
            link, agent = mqtt_pair.device(device_id)
            mqtt_pair.sink.wait_for(lambda: ("opened", device_id) in mqtt_pair.sink.calls)  # noqa: B023
            mqtt_pair.sink.opened[-1].send(desired(3))
            agent.wait_for(lambda: agent.messages)  # noqa: B023
            link.close()
        mqtt_pair.controllers[-1].forget("pi-1")
        mqtt_pair.stop_controller()
        looking = raw_controller()
        looking.wait(lambda: bool(looking.got))
        looking.settle()
        assert [topic for topic, _ in looking.got] == [DeviceTopics(FLEET, "pi-2").desired]


class TestDelivery:
    def test_report_delivered_a_hundred_times_is_taken_once(self, mqtt_pair: Any, raw_device: Any) -> None:
        device = raw_device("pi-1")
        device.enter()
        for _ in range(100):
            device.report(1)
        device.report(2)
        device.wait(lambda: len(device.controller_messages(ReportAck)) == 2)
        assert [message.body.sequence for _, message in mqtt_pair.sink.messages] == [1, 2]

    def test_disorder_is_undone(self, mqtt_pair: Any, raw_device: Any) -> None:
        device = raw_device("pi-1")
        device.enter()
        for number in (3, 2, 5, 1, 4):
            device.report(number)
        device.wait(lambda: len(device.controller_messages(ReportAck)) == 5)
        assert [message.body.sequence for _, message in mqtt_pair.sink.messages] == [1, 2, 3, 4, 5]

    def test_message_that_never_comes_ends_the_session_so_that_it_comes_again(
        self, mqtt_pair: Any, raw_device: Any
    ) -> None:
        device = raw_device("pi-1")
        device.enter()
        device.report(1)
        device.report(3)
        device.wait(lambda: bool(device.controller_messages(Goodbye)), 20.0)
        assert "lost on the way" in device.controller_messages(Goodbye)[0].reason
        assert len(mqtt_pair.sink.reports) == 1

    def test_message_of_a_session_that_is_over_is_answered_with_a_goodbye_once(
        self, mqtt_pair: Any, raw_device: Any
    ) -> None:
        device = raw_device("pi-1")
        device.session_id = "feedbeef"
        for number in range(1, 50):
            device.report(number)
        device.wait(lambda: bool(device.controller_messages(Goodbye)))
        device.settle()
        assert len(device.controller_messages(Goodbye)) <= 2
        assert mqtt_pair.sink.messages == []

    def test_greeting_that_was_meant_for_an_earlier_controller_opens_nothing(
        self, mqtt_pair: Any, raw_device: Any
    ) -> None:
        device = raw_device("pi-1")
        device.greet("0000", controller_id="somebody")
        device.enter()
        assert [session.session_id for session in mqtt_pair.sink.opened] == ["0123456789abcdef"]

    def test_block_that_gets_lost_is_asked_for_again(self, mqtt_pair: Any) -> None:
        sha256, content = content_of(2 * MIB)
        mqtt_pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        read, asked, is_asked_again = mqtt_pair.sink.read_artifact, [], threading.Event()

        def slow_read(device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
            asked.append(offset)
            if offset == 10 * BLOCK_BYTES:
                if asked.count(offset) == 1:
                    assert is_asked_again.wait(20)
                is_asked_again.set()
            result: tuple[bytes, int] = read(device_id, sha256, offset, length)
            return result

        mqtt_pair.sink.read_artifact = slow_read
        link, agent = mqtt_pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        got = bytearray()
        link.fetch(sha256, 0, lambda chunk: got.extend(chunk.data), threading.Event())
        assert bytes(got) == content
        assert asked.count(10 * BLOCK_BYTES) == 2


class TestHostile:
    def test_message_of_five_mebibytes_is_refused_and_others_do_not_notice(
        self, mqtt_pair: Any, raw_device: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        link, agent = mqtt_pair.device("pi-2")
        agent.wait_for(lambda: "online" in agent.calls)
        device = raw_device("pi-1")
        device.enter()
        big = UpMessage(device.session_id, 1, report(1, "x" * (5 * MIB)))
        device.say(device.topics.up(Up.REPORT), codec.encode(big))
        device.settle()
        assert link.send(report(1))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 1)
        assert [device_id for device_id, _ in mqtt_pair.sink.messages] == ["pi-2"]
        assert mqtt_pair.controllers[-1].drops.count == 1
        assert any("expected a message of a device of at most" in record.message for record in caplog.records)

    def test_garbage_on_every_topic_is_dropped_and_the_session_lives(
        self, mqtt_pair: Any, raw_device: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        device = raw_device("pi-1")
        device.enter()
        chance = random.Random(7)
        topics = [device.topics.presence, device.topics.reported, *(device.topics.up(kind) for kind in Up)]
        good = codec.encode(UpMessage(device.session_id, 1, report(1)))
        for topic in topics:
            for size in (0, 1, 7, 100, 65_536):
                device.say(topic, chance.randbytes(size), chance.choice((0, 1)))
            device.say(topic, b"\xff" * 64)
            if topic != device.topics.up(Up.REPORT):
                device.say(topic, good)  # right bytes, wrong place
            device.say(topic, codec.encode(UpMessage("", 1, report(1))))
            device.say(topic, codec.encode(UpMessage("../..#+", 1, report(1))))
            device.say(topic, codec.encode(UpMessage("9" * 10_000, 1, report(1))))
        device.settle()
        device.report(1)
        device.wait(lambda: len(device.controller_messages(ReportAck)) == 1)
        assert [message.body.sequence for _, message in mqtt_pair.sink.messages] == [1]
        assert device.controller_messages(Goodbye) == []
        assert mqtt_pair.controllers[-1].drops.count > 5 * len(topics)
        assert sum("was dropped" in record.message for record in caplog.records) < 5

    def test_device_that_floods_loses_its_session_and_others_do_not_notice(
        self, mqtt_pair: Any, raw_device: Any
    ) -> None:
        link, agent = mqtt_pair.device("pi-2")
        agent.wait_for(lambda: "online" in agent.calls)
        device = raw_device("pi-1")
        device.enter()
        release = threading.Event()
        take = mqtt_pair.sink.messages_received

        def slow(session: Any, messages: Any) -> None:
            if session.device_id == "pi-1":
                assert release.wait(20)
            take(session, messages)

        mqtt_pair.sink.messages_received = slow
        for number in range(1, 3000):
            device.report(number)
        device.settle()
        assert link.send(report(1))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 1)  # while pi-1's messages wait for the store
        release.set()
        device.wait(lambda: bool(device.controller_messages(Goodbye)))
        assert "found it does not" in device.controller_messages(Goodbye)[0].reason
        assert sum(device_id == "pi-1" for device_id, _ in mqtt_pair.sink.messages) < 600

    def test_garbage_of_whoever_speaks_for_the_controller_does_not_end_the_agent(
        self, mqtt_pair: Any, raw_controller: Callable[[], RawPeer], tmp_path: Path
    ) -> None:
        mqtt_pair.stop_controller()
        with mqtt_pair.controller_process(tmp_path / "own") as controller:
            _, agent = mqtt_pair.device("pi-1")
            agent.wait_for(lambda: "online" in agent.calls)
            controller.kill()
            agent.wait_for(lambda: len(agent.calls) == 2)
        hostile, topics, chance = raw_controller(), DeviceTopics(FLEET, "pi-1"), random.Random(7)
        for topic in topics.subscriptions():
            for size in (1, 7, 100, 65_536):
                hostile.say(topic, chance.randbytes(size))
            hostile.say(topic, codec.encode(DownMessage("0" * 16, 1, 1, Welcome())))
        hostile.say(topics.desired, b"", retain=True)
        hostile.settle()
        hostile.leave()
        with mqtt_pair.controller_process(tmp_path / "own"):
            agent.wait_for(lambda: agent.calls.count("online") == 2)
        assert mqtt_pair.proxies["pi-1"].connections == 1
        assert agent.messages == []
