"""One device's lane: its order, its bounds, and what it refuses; in threads of its own as in life."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.lane import Greeted, Lane, Lost, Said
from muster_controller.adapters.link_mqtt.options import LinkOptions
from muster_controller.adapters.link_mqtt.session import BrokerSession
from muster_controller.adapters.link_mqtt.twins import Twins
from muster_controller.ports import DeviceRevokedError, Principal
from muster_controller.testing_link import RecordingSink
from muster_protos import codec
from muster_protos.errors import NotAuthorisedError, TemporaryError
from muster_protos.model import AgentMessage, Event, Goodbye, Greeting, Hello, Report, Telemetry, UpMessage
from muster_protos.mqtt.topics import DeviceTopics
from muster_protos.v1 import link_pb2


class Around:
    """The link, as far as a lane sees it."""

    def __init__(self) -> None:
        self.sink: Any = RecordingSink()
        self.authenticator: Any = self
        self.options = LinkOptions()
        self.drops = Drops()
        self.twins = Twins(30.0)
        self.refused: list[tuple[str, Goodbye]] = []
        self.forgotten: list[str] = []
        self.error: Exception | None = None
        self._pool = ThreadPoolExecutor(4)

    def authenticate_device(self, device_id: str) -> Principal:
        if self.error is not None:
            raise self.error
        return Principal("device", device_id)

    def submit(self, call: Callable[[], None]) -> None:
        self._pool.submit(call)

    def make_session(self, device_id: str, greeted: Greeted) -> BrokerSession:
        topics = DeviceTopics("lab", device_id)
        return BrokerSession(topics, greeted.session_id, greeted.greeting, 100, lambda _: None, lambda _: None)

    def refuse(self, device_id: str, session_id: str, goodbye: Goodbye) -> None:
        self.refused.append((session_id, goodbye))

    def forget(self, device_id: str) -> None:
        self.forgotten.append(device_id)

    def settle(self, lane: Lane) -> None:
        """Until the lane has nothing to do."""
        deadline_s = time.monotonic() + 10
        while lane._is_running:
            assert time.monotonic() < deadline_s
            threading.Event().wait(0.001)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def around() -> Iterator[Around]:
    made = Around()
    yield made
    made.close()


@pytest.fixture
def lane(around: Around) -> Lane:
    return Lane("pi-1", around)


def greeted(session_id: str, connection_id: str = "c1", run_id: str = "r1") -> Greeted:
    return Greeted(session_id, Greeting(connection_id, "k1", run_id))


def said(session_id: str, sequence: int, body: Any = None, size_bytes: int = 100) -> Said:
    message = UpMessage(session_id, sequence, AgentMessage(body or Report("events", 1, sequence, Event())))
    return Said(link_pb2.UpMessage.FromString(codec.encode(message)), size_bytes)


def test_greeting_opens_a_session_and_messages_come_in_order(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1"))
    lane.post(said("s1", 1, Hello(desired_version=3)))
    for number in range(2, 100):
        lane.post(said("s1", number))
    around.settle(lane)
    assert around.sink.calls == [("opened", "pi-1")]
    sequences = [message.body.sequence for _, message in around.sink.messages[1:]]
    assert sequences == list(range(2, 100))


def test_greeting_delivered_twice_is_one_session(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1"))
    around.settle(lane)
    lane.post(greeted("s1"))
    around.settle(lane)
    assert around.sink.calls == [("opened", "pi-1")]


def test_same_run_that_comes_back_had_lost_its_connection(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1", "c1"))
    around.settle(lane)
    lane.post(greeted("s2", "c2"))
    around.settle(lane)
    assert [call for call, _ in around.sink.calls] == ["opened", "closed", "opened"]
    assert around.sink.close_reasons == ["the connection broke"]
    assert around.refused == []


def test_other_run_takes_over_and_the_first_one_has_to_stay_away(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1", "c1", "r1"))
    around.settle(lane)
    lane.post(greeted("s2", "c2", "r2"))
    around.settle(lane)
    assert around.sink.close_reasons == ["a newer session of this device took over"]
    lane.post(greeted("s3", "c3", "r1"))
    around.settle(lane)
    ((session_id, goodbye),) = around.refused
    assert session_id == "s3"
    assert 29_000 < goodbye.retry_after_ms <= 30_000
    assert [call for call, _ in around.sink.calls] == ["opened", "closed", "opened"]


def test_lost_connection_ends_its_own_session_only(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1", "c1"))
    lane.post(Lost("c0", "the connection broke"))
    around.settle(lane)
    assert around.sink.close_reasons == []
    lane.post(Lost("c1", "the connection broke"))
    around.settle(lane)
    assert around.sink.close_reasons == ["the connection broke"]
    assert lane.is_idle


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeviceRevokedError("removed"), Goodbye("removed", is_revoked=True)),
        (NotAuthorisedError("unknown"), Goodbye("unknown")),
        (TemporaryError("busy", 2.0), Goodbye("busy", retry_after_ms=2000)),
    ],
)
def test_device_that_may_not_come_is_told_why(around: Around, lane: Lane, error: Exception, expected: Goodbye) -> None:
    around.error = error
    lane.post(greeted("s1"))
    around.settle(lane)
    assert around.refused == [("s1", expected)]
    assert around.sink.calls == []
    assert around.forgotten == (["pi-1"] if expected.is_revoked else [])


def test_goodbye_of_the_agent_comes_after_everything_before_it(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1"))
    lane.post(said("s1", 2, Goodbye("the agent stops")))
    lane.post(said("s1", 1))
    around.settle(lane)
    assert len(around.sink.messages) == 1
    assert around.sink.close_reasons == ["the agent said goodbye"]


def test_what_comes_after_the_goodbye_is_not_handed_over(around: Around, lane: Lane) -> None:
    around.options = LinkOptions(batch_messages=10)
    lane.post(greeted("s1"))
    for item in (said("s1", 2, Goodbye()), said("s1", 3), said("s1", 0, Telemetry(at_ns=1)), said("s1", 1)):
        lane.post(item)
    around.settle(lane)
    reports = [message for _, message in around.sink.messages if isinstance(message.body, Report)]
    assert [message.body.sequence for message in reports] == [1]


def test_telemetry_passes_beside_the_numbers(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1"))
    lane.post(said("s1", 0, Telemetry(at_ns=5)))
    lane.post(said("s1", 0, Telemetry(at_ns=6)))
    around.settle(lane)
    assert [message.body.at_ns for _, message in around.sink.messages] == [5, 6]


def test_more_than_a_device_may_have_waiting_is_not_taken(around: Around, lane: Lane) -> None:
    release = threading.Event()
    around.sink.messages_received = lambda *_: release.wait(10)
    lane.post(greeted("s1"))
    around.settle(lane)
    taken = [lane.post(said("s1", number)) for number in range(1, 1000)]
    release.set()
    assert taken.count(True) < 600
    assert not taken[-1]
    assert lane.post(Lost("", "the connection broke"))  # ends are never refused
    around.settle(lane)


def test_bytes_that_wait_are_bounded_too(around: Around, lane: Lane) -> None:
    release = threading.Event()
    around.sink.messages_received = lambda *_: release.wait(10)
    lane.post(greeted("s1"))
    around.settle(lane)
    taken = [lane.post(said("s1", number, size_bytes=4 * 1024 * 1024)) for number in range(1, 20)]
    release.set()
    assert taken.count(True) <= 4
    around.settle(lane)


def test_waiting_greetings_are_one(around: Around, lane: Lane) -> None:
    release = threading.Event()
    opened = around.sink.session_opened

    def slow(session: Any) -> None:
        assert release.wait(10)
        opened(session)

    around.sink.session_opened = slow
    for number in range(100):
        lane.post(greeted(f"s{number}"))
    release.set()
    around.settle(lane)
    assert len(around.sink.opened) <= 2
    assert around.sink.opened[-1].session_id == "s99"


def test_fault_of_the_sink_closes_the_session_with_a_time_to_come_back(around: Around, lane: Lane) -> None:
    def broken(session: Any, messages: Any) -> None:
        raise OSError("disk gone")

    around.sink.messages_received = broken
    lane.post(greeted("s1"))
    lane.post(said("s1", 1))
    around.settle(lane)
    session = lane.session
    assert session is not None
    assert "failed" in session.close_reason
    assert not lane._is_running


def test_session_that_the_sink_closes_at_once_is_never_welcomed(around: Around, lane: Lane) -> None:
    around.sink.session_opened = lambda session: session.close("unknown here", is_revoked=True)
    lane.post(greeted("s1"))
    around.settle(lane)
    assert lane.session is not None
    packet = lane.session.next_packet()
    assert packet is not None
    assert packet.topic.endswith("down/goodbye")
    assert lane.session.next_packet() is None


def test_device_that_says_without_end_that_it_was_lost_fills_nothing(around: Around, lane: Lane) -> None:
    lane.post(greeted("s1", "c1"))
    around.settle(lane)
    calls: list[Callable[[], None]] = []
    around.submit = calls.append  # type: ignore[method-assign]
    taken = [lane.post(Lost(f"x{number}", "the connection broke")) for number in range(100)]
    assert sum(taken) == 64
    assert lane.post(Lost("", "the controller stops"))
    while calls:
        calls.pop()()
    assert around.sink.close_reasons == ["the controller stops"]
