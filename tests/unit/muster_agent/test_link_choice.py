from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from muster_agent.adapters.link_choice import Candidate, LinkChoice
from muster_agent.ports import LinkSink
from muster_agent.testing_link import RecordingLinkSink
from muster_protos.errors import MissingExtraError, UnreachableError
from muster_protos.model import AgentMessage, Chunk, ControllerMessage, Goodbye, Hello, RenewResponse, SessionTerms

QUICK_S = 0.05


class FakeLink:
    """Goes online when it is told to, or at once."""

    def __init__(self, name: str, is_reachable: bool = True) -> None:
        self.name = name
        self.is_reachable = is_reachable
        self.sent: list[AgentMessage] = []
        self.is_closed = threading.Event()
        self.sink: LinkSink | None = None

    def start(self, sink: LinkSink) -> None:
        self.sink = sink
        if self.is_reachable:
            sink.online()

    def send(self, message: AgentMessage) -> bool:
        self.sent.append(message)
        return self.is_reachable

    def fetch(self, sha256: str, offset: int, on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        on_chunk(Chunk(offset, b"bytes over " + self.name.encode(), 100))

    def renew(self, csr_pem: bytes) -> RenewResponse:
        return RenewResponse(csr_pem + self.name.encode())

    def reconnect(self, reason: str) -> None:
        self.sent.append(AgentMessage(Goodbye(reason)))

    def close(self) -> None:
        if not self.is_closed.is_set() and self.is_reachable and self.sink is not None:
            self.sink.offline("closed")
        self.is_closed.set()

    def lose(self, reason: str = "broke") -> None:
        self.is_reachable = False
        assert self.sink is not None
        self.sink.offline(reason)


def _choice(*links: FakeLink) -> tuple[LinkChoice, RecordingLinkSink]:
    choice = LinkChoice([Candidate(link.name, lambda link=link: link) for link in links], QUICK_S)
    sink = RecordingLinkSink()
    choice.start(sink)
    return choice, sink


def test_first_link_that_works_is_used_and_kept() -> None:
    grpc, mqtt = FakeLink("grpc"), FakeLink("mqtt")
    choice, sink = _choice(grpc, mqtt)
    sink.wait_for(lambda: sink.calls == ["online"])
    assert choice.name == "grpc"
    assert choice.send(AgentMessage(Hello()))
    assert choice.renew(b"csr over ") == RenewResponse(b"csr over grpc")
    chunks: list[Chunk] = []
    choice.fetch("0" * 64, 3, chunks.append, threading.Event())
    assert chunks == [Chunk(3, b"bytes over grpc", 100)]
    choice.close()
    assert grpc.is_closed.is_set()
    assert mqtt.sink is None


def test_silent_link_gives_way_to_the_next() -> None:
    grpc, mqtt = FakeLink("grpc", is_reachable=False), FakeLink("mqtt")
    choice, sink = _choice(grpc, mqtt)
    sink.wait_for(lambda: sink.calls == ["online"])
    assert choice.name == "mqtt"
    assert grpc.is_closed.is_set()
    choice.close()


def test_lost_link_is_waited_for_and_then_left() -> None:
    grpc, mqtt = FakeLink("grpc"), FakeLink("mqtt")
    choice, sink = _choice(grpc, mqtt)
    sink.wait_for(lambda: sink.calls == ["online"])
    grpc.lose()
    sink.wait_for(lambda: sink.calls == ["online", "offline: broke", "online"])
    assert choice.name == "mqtt"
    choice.close()


def test_what_a_link_still_says_after_it_was_left_is_not_passed_on() -> None:
    grpc, mqtt = FakeLink("grpc"), FakeLink("mqtt")
    choice, sink = _choice(grpc, mqtt)
    sink.wait_for(lambda: sink.calls == ["online"])
    grpc.lose()
    sink.wait_for(lambda: sink.calls == ["online", "offline: broke", "online"])
    late, present = ControllerMessage(SessionTerms(1)), ControllerMessage(SessionTerms(2))
    assert grpc.sink is not None
    assert mqtt.sink is not None
    grpc.sink.received(late)
    mqtt.sink.received(present)
    assert sink.messages == [present]
    choice.close()


def test_all_are_tried_again_and_again() -> None:
    grpc, mqtt = FakeLink("grpc", is_reachable=False), FakeLink("mqtt", is_reachable=False)
    choice, sink = _choice(grpc, mqtt)
    assert mqtt.is_closed.wait(10)
    grpc.is_reachable = True
    sink.wait_for(lambda: sink.calls == ["online"])
    choice.close()


def test_link_whose_library_is_missing_is_left_out() -> None:
    def missing() -> FakeLink:
        raise MissingExtraError("expected grpcio, found none")

    mqtt = FakeLink("mqtt")
    choice = LinkChoice([Candidate("grpcs://host:1", missing), Candidate("mqtts://host:2", lambda: mqtt)], 60.0)
    sink = RecordingLinkSink()
    choice.start(sink)
    sink.wait_for(lambda: sink.calls == ["online"])
    choice.close()


@pytest.mark.parametrize("fault", [MissingExtraError("expected grpcio, found none"), OSError("no descriptor is left")])
def test_links_that_cannot_be_made_are_tried_again_after_a_while_and_not_at_once(fault: Exception) -> None:
    makings: list[str] = []
    is_second_round = threading.Event()

    def fail(name: str) -> FakeLink:
        makings.append(name)
        if len(makings) > 2:
            is_second_round.set()
        raise fault

    def choice_with(patience_s: float) -> LinkChoice:
        return LinkChoice([Candidate(name, lambda name=name: fail(name)) for name in ("one", "two")], patience_s)

    choice = choice_with(60.0)
    choice.start(RecordingLinkSink())
    assert not is_second_round.wait(0.1)
    choice.close()
    assert makings == ["one", "two"]
    choice = choice_with(QUICK_S)
    choice.start(RecordingLinkSink())
    assert is_second_round.wait(10)
    choice.close()


def test_word_of_the_controller_is_passed_on_and_closing_is_quick() -> None:
    grpc = FakeLink("grpc")
    choice, sink = _choice(grpc, FakeLink("mqtt"))
    sink.wait_for(lambda: sink.calls == ["online"])
    assert grpc.sink is not None
    grpc.sink.received(ControllerMessage(Goodbye("removed", is_revoked=True)))
    assert sink.messages == [ControllerMessage(Goodbye("removed", is_revoked=True))]
    choice.reconnect("new certificate")
    assert grpc.sent == [AgentMessage(Goodbye("new certificate"))]
    choice.close()
    choice.close()
    assert choice._thread is not None
    assert not choice._thread.is_alive()


def test_between_two_links_nothing_is_taken() -> None:
    choice = LinkChoice([Candidate("mqtts://host:1", lambda: FakeLink("mqtt"))], 60.0)
    assert not choice.send(AgentMessage(Hello()))
    with pytest.raises(UnreachableError):
        choice.renew(b"csr")
    choice.close()
