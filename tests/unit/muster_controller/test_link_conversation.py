"""One stream's loops, without a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from muster_controller.adapters.link_grpc.conversation import Conversation
from muster_controller.adapters.link_grpc.options import LinkOptions
from muster_controller.adapters.link_grpc.session import StreamSession
from muster_controller.testing_link import RecordingSink
from muster_protos import codec
from muster_protos.model import (
    AgentMessage,
    ControllerMessage,
    Desired,
    Event,
    Goodbye,
    Hello,
    Report,
    ReportAck,
    SignedEnvelope,
)


class Stream:
    """The device's side: what it sends, and what it got."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Message | None] = asyncio.Queue()
        self.got: list[ControllerMessage] = []
        self.is_reading = asyncio.Event()
        self.is_reading.set()

    async def incoming(self) -> AsyncIterator[Message]:
        while (message := await self.sent.get()) is not None:
            yield message

    async def write(self, message: Message) -> None:
        await self.is_reading.wait()
        self.got.append(codec.from_message(ControllerMessage, message))

    def say(self, message: AgentMessage) -> None:
        self.sent.put_nowait(codec.to_message(message))


def offload(call: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    return asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def begin(sink: Any, stream: Stream, options: LinkOptions | None = None) -> tuple[StreamSession, Any, Conversation]:
    settings = options or LinkOptions()
    session = StreamSession("pi-1", asyncio.get_running_loop(), settings.outbox_messages)
    conversation = Conversation(session, sink, offload, settings)
    return session, asyncio.ensure_future(conversation.run(stream.incoming(), stream.write)), conversation


def desired(number: int) -> ControllerMessage:
    return ControllerMessage(Desired(SignedEnvelope("t", str(number).encode())))


async def test_what_piles_up_while_the_store_is_busy_comes_as_batches() -> None:
    sink, stream, release = RecordingSink(), Stream(), threading.Event()
    take = sink.messages_received

    def slow(session: Any, messages: Any) -> None:
        assert release.wait(10)
        take(session, messages)

    sink.messages_received = slow  # type: ignore[method-assign]
    _, course, _ = begin(sink, stream, LinkOptions(batch_messages=100, inbox_messages=200))
    for number in range(300):
        stream.say(AgentMessage(Report("r", 1, number, Event())))
    stream.sent.put_nowait(None)
    while stream.sent.qsize() > 101:  # the inbox is full: the device is held back, nothing is lost
        await asyncio.sleep(0)
    release.set()
    assert await course == "the agent left"
    assert [message.body.sequence for _, message in sink.messages] == list(range(300))  # type: ignore[union-attr]
    assert max(sink.batches) <= 100
    assert len(sink.batches) < 10


async def test_goodbye_of_the_agent_comes_after_everything_before_it_is_acknowledged() -> None:
    sink, stream = RecordingSink(), Stream()
    _, course, _ = begin(sink, stream)
    for number in range(10):
        stream.say(AgentMessage(Report("r", 1, number, Event())))
    stream.say(AgentMessage(Goodbye("the agent stops")))
    assert await course == "the agent said goodbye"
    assert [message.body.sequence for message in stream.got if isinstance(message.body, ReportAck)] == list(range(10))
    assert isinstance(stream.got[-1].body, Goodbye)


async def test_unsent_desired_state_gives_way_to_a_newer_one_and_acknowledgements_stay() -> None:
    sink, stream = RecordingSink(), Stream()
    stream.is_reading.clear()
    session, course, _ = begin(sink, stream)
    session.send(desired(0))
    await asyncio.sleep(0.01)  # the writer holds it
    for number in range(1, 50):
        session.send(desired(number))
        session.send(ControllerMessage(ReportAck("r", 1, number)))
    stream.is_reading.set()
    session.close("enough")
    await course
    states = [message.body.envelope.payload for message in stream.got if isinstance(message.body, Desired)]
    assert states[-1] == b"49"
    assert len(states) <= 2
    assert [message.body.sequence for message in stream.got if isinstance(message.body, ReportAck)] == list(
        range(1, 50)
    )


async def test_revocation_drops_what_waits_and_says_so() -> None:
    sink, stream = RecordingSink(), Stream()
    session, course, _ = begin(sink, stream)
    session.close("removed", is_revoked=True)
    session.send(desired(1))
    session.close("again")
    assert await course == "removed"
    assert stream.got == [ControllerMessage(Goodbye("removed", is_revoked=True))]


async def test_device_that_does_not_read_is_closed_not_buffered() -> None:
    sink, stream = RecordingSink(), Stream()
    stream.is_reading.clear()
    session, course, conversation = begin(sink, stream, LinkOptions(outbox_messages=10))
    for number in range(20):
        session.send(ControllerMessage(ReportAck("r", 1, number)))
    assert "too slow" in session.close_reason
    conversation.break_off()
    assert "too slow" in await course


async def test_fault_of_the_sink_closes_the_session_with_a_time_to_come_back() -> None:
    class Broken(RecordingSink):
        def messages_received(self, session: Any, messages: Any) -> None:
            raise OSError("disk gone")

    stream = Stream()
    _, course, _ = begin(Broken(), stream)
    stream.say(AgentMessage(Hello()))
    assert "failed" in await course
    goodbye = stream.got[-1].body
    assert isinstance(goodbye, Goodbye)
    assert goodbye.retry_after_ms > 0


async def test_broken_connection_still_hands_over_what_arrived() -> None:
    sink, stream, release = RecordingSink(), Stream(), threading.Event()
    take = sink.messages_received

    def slow(session: Any, messages: Any) -> None:
        assert release.wait(10)
        take(session, messages)

    sink.messages_received = slow  # type: ignore[method-assign]
    _, course, conversation = begin(sink, stream)
    for number in range(20):
        stream.say(AgentMessage(Report("r", 1, number, Event())))
    while stream.sent.qsize():
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    conversation.break_off()
    release.set()
    assert await course == "the connection broke"
    assert len(sink.messages) == 20


async def test_messages_of_a_newer_agent_are_skipped() -> None:
    sink, stream = RecordingSink(), Stream()
    _, course, _ = begin(sink, stream)
    unknown = codec.to_message(AgentMessage())
    unknown.ParseFromString(b"\xfa\x07\x03abc")  # field 127
    stream.sent.put_nowait(unknown)
    stream.say(AgentMessage(Hello(desired_version=9)))
    stream.sent.put_nowait(None)
    await course
    assert [message for _, message in sink.messages] == [AgentMessage(Hello(desired_version=9))]
