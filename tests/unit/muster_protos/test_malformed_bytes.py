"""Whatever bytes arrive: every decoder returns a message or a CodecError, at once."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.local_socket import MAX_FRAME_BYTES, FrameReader
from muster_protos import model
from muster_protos.codec import decode, encode
from muster_protos.errors import CodecError, InvalidInputError
from muster_protos.mqtt.topics import parse_from_device

MESSAGES = sorted(
    (found for _, found in inspect.getmembers(model, dataclasses.is_dataclass) if inspect.isclass(found)),
    key=lambda found: found.__name__,
)


def pieces() -> st.SearchStrategy[bytes]:
    """Bytes that look like protobuf more often than chance would have it: tags, lengths, nesting, bad UTF-8."""
    tag = st.builds(lambda number, kind: bytes([number << 3 | kind]), st.integers(1, 15), st.integers(0, 5))
    length = st.sampled_from([b"\0", b"\x01", b"\x05", b"\x7f", b"\xff\xff\xff\xff\x07", b"\xff" * 10])
    value = st.one_of(st.binary(max_size=12), st.just(b"\xed\xa0\x80"), st.just(b"\xff\xfe"))
    field = st.builds(lambda *parts: b"".join(parts), tag, length, value)
    return st.one_of(st.binary(max_size=200), st.lists(field, max_size=12).map(b"".join))


def test_the_sweep_sees_the_contract() -> None:
    assert len(MESSAGES) > 50


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
@settings(max_examples=15, deadline=None)
@given(content=pieces())
def test_any_bytes_are_a_message_or_a_codec_error(cls: type[Any], content: bytes) -> None:
    try:
        found = decode(cls, content)
    except CodecError:
        return
    assert isinstance(found, cls)
    again = encode(found)  # compared as bytes: NaN is not equal to itself
    assert encode(decode(cls, again)) == again


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces(), max_size=8), st.integers(1, 50))
def test_frames_of_any_bytes_are_messages_or_a_codec_error(contents: list[bytes], cut: int) -> None:
    stream = b"".join(len(content).to_bytes(4, "big") + content for content in contents)
    reader = FrameReader()
    try:
        for start in range(0, len(stream), cut):
            for body in reader.feed(stream[start : start + cut]):
                assert dataclasses.is_dataclass(body)
    except CodecError:
        pass


def test_a_frame_that_says_it_is_endless_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(CodecError, match="at most"):
        list(FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(alphabet="muster/1+#$.lab-up\0\u202e", max_size=60)))
def test_any_topic_is_a_device_s_or_invalid(topic: str) -> None:
    try:
        found = parse_from_device(topic, "lab")
    except InvalidInputError:
        return
    assert topic.startswith(f"muster/1/lab/{found.device_id}/")
