"""What every link promises, whatever carries it."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest

from muster_protos import codec
from muster_protos.errors import InvalidInputError, NotFoundError, TemporaryError
from muster_protos.limits import CHUNK_BYTES, MAX_AGENT_MESSAGE_BYTES, MAX_CONTROLLER_MESSAGE_BYTES
from muster_protos.model import (
    AgentMessage,
    Chunk,
    ControllerMessage,
    Desired,
    DesiredState,
    Event,
    Goodbye,
    Hello,
    Inventory,
    Progress,
    Report,
    ReportAck,
    ReportedState,
    SignedEnvelope,
    Telemetry,
)


def hello(device_id: str) -> AgentMessage:
    return AgentMessage(Hello(Inventory(device_id=device_id, cores=2), desired_version=3))


def desired(version: int, padding: int = 0) -> ControllerMessage:
    payload = codec.encode(DesiredState(version=version)) + bytes(0)
    return ControllerMessage(Desired(SignedEnvelope("muster.v1.DesiredState", payload + b"\x00" * padding)))


def version_of(message: ControllerMessage) -> int:
    assert isinstance(message.body, Desired)
    return codec.decode(DesiredState, message.body.envelope.payload).version


def report(sequence: int, text: str = "") -> AgentMessage:
    return AgentMessage(Report("events", 1, sequence, Event(event_id=f"e{sequence}", reason=text)))


def content_of(size: int) -> tuple[str, bytes]:
    content = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))[:size]
    return hashlib.sha256(content).hexdigest(), content


def bodies(sink: Any, kind: type) -> list[Any]:
    return [message.body for message in sink.messages if isinstance(message.body, kind)]


class TestLink:
    def test_hello_arrives_under_the_id_of_the_certificate_not_of_the_message(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        assert link.send(hello("somebody-else"))
        pair.sink.wait_for(lambda: pair.sink.messages)
        device_id, message = pair.sink.messages[0]
        assert device_id == "pi-1"
        assert message.body.desired_version == 3
        assert pair.sink.opened[0].device_id == "pi-1"
        assert pair.sink.opened[0].link == link.name

    def test_session_is_usable_inside_the_online_call(self, pair: Any) -> None:
        _, agent = pair.device("pi-1", greeting=hello("pi-1"))
        agent.wait_for(lambda: "online" in agent.calls)
        pair.sink.wait_for(lambda: pair.sink.messages)
        assert pair.sink.messages == [("pi-1", hello("pi-1"))]

    def test_nothing_is_taken_without_a_session(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        link.close()
        assert not link.send(report(1))

    def test_desired_state_reaches_the_device_verbatim(self, pair: Any) -> None:
        _, agent = pair.device("pi-1")
        pair.sink.wait_for(lambda: pair.sink.opened)
        sent = desired(7)
        pair.sink.opened[0].send(sent)
        agent.wait_for(lambda: agent.messages)
        assert agent.messages == [sent]

    def test_newest_desired_state_wins_and_versions_never_fall(self, pair: Any) -> None:
        _, agent = pair.device("pi-1")
        pair.sink.wait_for(lambda: pair.sink.opened)
        for version in range(1, 201):
            pair.sink.opened[0].send(desired(version))
        agent.wait_for(lambda: agent.messages and version_of(agent.messages[-1]) == 200)
        versions = [version_of(message) for message in agent.messages]
        assert versions == sorted(set(versions))

    def test_every_kind_of_message_arrives_in_order(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        sent = [hello("pi-1"), report(1), AgentMessage(Telemetry(at_ns=5)), AgentMessage(Progress("fetch", "x", 1, 2))]
        sent.append(AgentMessage(ReportedState(device_id="pi-1", desired_version=4)))
        assert all(link.send(message) for message in sent)
        pair.sink.wait_for(lambda: len(pair.sink.messages) == len(sent))
        assert [message for _, message in pair.sink.messages] == sent

    def test_each_report_is_acknowledged(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        for sequence in range(50):
            assert link.send(report(sequence))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 50)
        assert [ack.sequence for ack in bodies(agent, ReportAck)] == list(range(50))

    def test_report_redelivered_after_a_cut_is_stored_once(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        pair.sink.is_acknowledging = False
        assert link.send(report(1))
        pair.sink.wait_for(lambda: len(pair.sink.messages) == 1)
        pair.cut("pi-1")
        agent.wait_for(lambda: agent.calls.count("online") == 2)
        pair.sink.is_acknowledging = True
        assert link.send(report(1))
        agent.wait_for(lambda: len(bodies(agent, ReportAck)) == 1)
        assert len(pair.sink.messages) == 2
        assert len(pair.sink.reports) == 1

    def test_cut_is_told_to_both_sides_and_healed(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        pair.cut("pi-1")
        agent.wait_for(lambda: agent.calls.count("online") == 2)
        pair.sink.wait_for(lambda: len(pair.sink.calls) == 3)
        assert [call.split(":")[0] for call in agent.calls] == ["online", "offline", "online"]
        assert [call for call, _ in pair.sink.calls] == ["opened", "closed", "opened"]
        assert link.send(hello("pi-1"))
        pair.sink.wait_for(lambda: pair.sink.messages)

    def test_close_says_goodbye_and_ends_the_session(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        assert link.send(report(1))
        link.close()
        pair.sink.wait_for(lambda: ("closed", "pi-1") in pair.sink.calls)
        assert pair.sink.close_reasons == ["the agent said goodbye"]
        assert len(pair.sink.reports) == 1
        assert not any(isinstance(message.body, Goodbye) for _, message in pair.sink.messages)
        link.close()

    def test_reconnect_says_goodbye_and_comes_back_at_once(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        assert link.send(report(1))
        link.reconnect("the agent has a new certificate")
        agent.wait_for(lambda: agent.calls.count("online") == 2)
        assert pair.sink.close_reasons == ["the agent said goodbye"]
        assert len(pair.sink.reports) == 1
        assert link.send(report(2))
        pair.sink.wait_for(lambda: len(pair.sink.reports) == 2)

    def test_controller_that_stops_says_goodbye(self, pair: Any) -> None:
        _, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        pair.stop_controller()
        agent.wait_for(lambda: len(agent.calls) == 2)
        assert bodies(agent, Goodbye)[0].reason == "the controller stops"
        assert not bodies(agent, Goodbye)[0].is_revoked

    def test_revocation_closes_the_live_stream_and_the_device_stays_away(self, pair: Any) -> None:
        _, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        pair.book.revoke("pi-1")
        pair.sink.wait_for(lambda: pair.sink.opened)
        pair.sink.opened[0].close("removed", is_revoked=True)
        agent.wait_for(lambda: len(agent.calls) == 2)
        assert agent.calls[1] == "offline: removed"
        assert bodies(agent, Goodbye) == [Goodbye("removed", is_revoked=True)]
        assert agent.calls.count("online") == 1

    def test_revoked_device_that_dials_is_told_once_and_never_online(self, pair: Any) -> None:
        first, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        first.close()
        pair.book.revoke("pi-1")
        link, second = pair.twin("pi-1")
        second.wait_for(lambda: bodies(second, Goodbye))
        assert bodies(second, Goodbye)[0].is_revoked
        assert "online" not in second.calls
        assert not link.send(hello("pi-1"))

    def test_second_session_of_a_device_replaces_the_first_in_order(self, pair: Any) -> None:
        _, first = pair.device("pi-1")
        first.wait_for(lambda: "online" in first.calls)
        _, second = pair.twin("pi-1")
        first.wait_for(lambda: bodies(first, Goodbye))  # a broker drops it without a word: it hears when it comes back
        second.wait_for(lambda: second.calls[-1:] == ["online"])
        assert bodies(first, Goodbye)[0].retry_after_ms > 0
        first.wait_for(lambda: first.calls[-1].startswith("offline"))
        assert "a newer session of this device took over" in pair.sink.close_reasons
        what = [call for call, _ in pair.sink.calls]
        assert what == ["opened" if number % 2 == 0 else "closed" for number in range(len(what))]

    def test_one_device_does_not_hear_another(self, pair: Any) -> None:
        _, one = pair.device("pi-1")
        _, two = pair.device("pi-2")
        pair.sink.wait_for(lambda: len(pair.sink.opened) == 2)
        session = next(each for each in pair.sink.opened if each.device_id == "pi-2")
        session.send(desired(1))
        two.wait_for(lambda: two.messages)
        assert one.messages == []

    @pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 17])
    def test_fetch_returns_the_bytes_in_small_ordered_chunks(self, pair: Any, size: int) -> None:
        sha256, content = content_of(size)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        chunks: list[Chunk] = []
        link.fetch(sha256, 0, chunks.append, threading.Event())
        assert b"".join(chunk.data for chunk in chunks) == content
        assert all(len(chunk.data) <= CHUNK_BYTES and chunk.total_bytes == size for chunk in chunks)
        assert [chunk.offset for chunk in chunks] == sorted(chunk.offset for chunk in chunks)

    @pytest.mark.parametrize("offset", [1, CHUNK_BYTES, 3 * CHUNK_BYTES - 1, 3 * CHUNK_BYTES])
    def test_fetch_resumes_from_an_offset(self, pair: Any, offset: int) -> None:
        sha256, content = content_of(3 * CHUNK_BYTES)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        chunks: list[Chunk] = []
        link.fetch(sha256, offset, chunks.append, threading.Event())
        assert chunks[0].offset == offset
        assert b"".join(chunk.data for chunk in chunks) == content[offset:]

    def test_fetch_beyond_the_end_is_refused(self, pair: Any) -> None:
        sha256, content = content_of(10)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        with pytest.raises(InvalidInputError, match="10 bytes"):
            link.fetch(sha256, 11, lambda _: None, threading.Event())

    def test_fetch_of_another_devices_artifact_is_refused(self, pair: Any) -> None:
        sha256, content = content_of(10)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-2"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        got: list[Chunk] = []
        with pytest.raises(NotFoundError):
            link.fetch(sha256, 0, got.append, threading.Event())
        assert got == []

    def test_fetch_stops_when_it_is_told_to(self, pair: Any) -> None:
        sha256, content = content_of(40 * CHUNK_BYTES)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        stop = threading.Event()
        with pytest.raises(InterruptedError):
            link.fetch(sha256, 0, lambda _: stop.set(), stop)

    def test_fetch_without_a_session_is_a_temporary_error(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        link.close()
        with pytest.raises(TemporaryError):
            link.fetch("0" * 64, 0, lambda _: None, threading.Event())

    def test_cut_fetch_resumes_without_a_byte_twice(self, pair: Any) -> None:
        sha256, content = content_of(40 * CHUNK_BYTES)
        pair.sink.artifacts[sha256] = (content, frozenset({"pi-1"}))
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        got = bytearray()

        def take(chunk: Chunk) -> None:
            assert chunk.offset == len(got)
            got.extend(chunk.data)
            if len(got) >= 5 * CHUNK_BYTES and agent.calls == ["online"]:
                pair.cut("pi-1")
                agent.wait_for(lambda: any(call.startswith("offline") for call in agent.calls))

        with pytest.raises(TemporaryError):
            link.fetch(sha256, 0, take, threading.Event())
        assert 0 < len(got) < len(content)
        agent.wait_for(lambda: agent.calls.count("online") == 2)
        link.fetch(sha256, len(got), take, threading.Event())
        assert bytes(got) == content

    def test_message_too_big_for_any_link_is_refused_with_its_size(self, pair: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        with pytest.raises(InvalidInputError, match=str(MAX_AGENT_MESSAGE_BYTES)):
            link.send(report(1, "x" * (MAX_AGENT_MESSAGE_BYTES + 1)))
        assert link.send(report(2, "x" * (MAX_AGENT_MESSAGE_BYTES - 1000)))
        agent.wait_for(lambda: [ack.sequence for ack in bodies(agent, ReportAck)] == [2])

    def test_desired_state_too_big_for_any_link_is_refused_with_its_size(self, pair: Any) -> None:
        _, agent = pair.device("pi-1")
        pair.sink.wait_for(lambda: pair.sink.opened)
        with pytest.raises(InvalidInputError, match=str(MAX_CONTROLLER_MESSAGE_BYTES)):
            pair.sink.opened[0].send(desired(1, padding=MAX_CONTROLLER_MESSAGE_BYTES))
        big = ControllerMessage(Desired(SignedEnvelope("t", bytes(MAX_CONTROLLER_MESSAGE_BYTES - 1000))))
        pair.sink.opened[0].send(big)
        agent.wait_for(lambda: agent.messages == [big])

    def test_renewal_returns_a_certificate_and_the_signing_keys(self, pair: Any, make_csr: Any) -> None:
        link, agent = pair.device("pi-1")
        agent.wait_for(lambda: "online" in agent.calls)
        renewed = link.renew(make_csr("pi-1")[1])
        assert renewed.certificate_pem
        assert renewed.door_certificate_pem
        assert renewed.signing_keys
