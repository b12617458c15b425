"""The codec both ways over every dataclass of the contract, and what it makes of bytes from other versions."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster_protos import model
from muster_protos.codec import decode, encode
from muster_protos.errors import CodecError
from muster_protos.model import (
    AgentMessage,
    ArtifactRef,
    BenchmarkRequest,
    Emulation,
    Hello,
    Inventory,
    Isolation,
    RecordState,
    ReportedBenchmark,
    Tier,
    VariantManifest,
)
from muster_protos.v1 import device_pb2, state_pb2

_MESSAGES = tuple(
    item for name in model.__all__ if isinstance(item := getattr(model, name), type) and dataclasses.is_dataclass(item)
)
_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1)}


def _values(cls: type) -> st.SearchStrategy[object]:
    """Any value of a contract dataclass that the wire can carry."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: _of_hint(hints[field.name], cls.__name__, field.name) for field in dataclasses.fields(cls)}
    return st.builds(cls, **fields)


def _of_hint(hint: typing.Any, message: str, field: str) -> st.SearchStrategy[typing.Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else _of_hint(arg, message, field) for arg in args])
    if origin is tuple:
        return st.lists(_of_hint(args[0], message, field), max_size=2).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        keys, values = (_of_hint(arg, message, f"{field}[{n}]") for n, arg in enumerate(args))
        return st.dictionaries(keys, values, max_size=2)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if dataclasses.is_dataclass(hint):
        return st.deferred(lambda: _values(typing.cast("type", hint)))
    plain = {
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        bytes: st.binary(max_size=8),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        int: st.integers(*_int_bounds(message, field)),
    }
    return plain[getattr(hint, "__supertype__", hint)]


def _int_bounds(message: str, field: str) -> tuple[int, int]:
    descriptor = _descriptor(message).fields_by_name.get(field)
    if descriptor is None or descriptor.cpp_type == descriptor.CPPTYPE_INT32:
        return _BOUNDS["int32"]
    return (0, 2**31 - 1) if descriptor.cpp_type == descriptor.CPPTYPE_UINT32 else _BOUNDS["int64"]


def _descriptor(message: str):
    return descriptor_pool.Default().FindMessageTypeByName(f"muster.v1.{message}")


@pytest.mark.parametrize("cls", _MESSAGES, ids=lambda cls: cls.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_every_value_survives_the_wire(cls, data):
    value = data.draw(_values(cls))
    payload = encode(value)
    assert decode(cls, payload) == value
    assert encode(decode(cls, payload)) == payload


@pytest.mark.parametrize("cls", _MESSAGES, ids=lambda cls: cls.__name__)
def test_defaults_are_what_empty_bytes_mean(cls):
    assert decode(cls, b"") == cls()


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_random_bytes_parse_or_raise_a_codec_error(payload):
    for cls in (AgentMessage, VariantManifest, Inventory):
        with contextlib.suppress(CodecError):
            decode(cls, payload)


@given(_values(Inventory), st.integers(500, 600), st.binary(min_size=1, max_size=16))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_fields_of_a_newer_version_are_ignored(inventory, number, content):
    newer = _message_with_unknown_field(number, content)
    assert decode(Inventory, encode(inventory) + newer) == inventory


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
def test_enum_values_of_a_newer_version_are_unspecified(number):
    message = device_pb2.Inventory(device_id="d")
    message.isolation = number
    assert decode(Inventory, message.SerializeToString()) == Inventory(device_id="d", isolation=Isolation.UNSPECIFIED)


def test_a_repeated_message_with_a_new_enum_value_keeps_its_neighbours():
    message = state_pb2.ReportedState()
    message.benchmarks.add(request_id="a", phase=77)
    message.benchmarks.add(request_id="b", phase=2)
    found = decode(model.ReportedState, message.SerializeToString()).benchmarks
    assert [benchmark.request_id for benchmark in found] == ["a", "b"]
    assert found[0] == ReportedBenchmark(request_id="a")
    assert found[1].phase is not model.BenchmarkPhase.UNSPECIFIED


def test_a_body_of_a_newer_version_is_no_body():
    assert decode(AgentMessage, _message_with_unknown_field(99, b"x")) == AgentMessage(body=None)


def test_an_empty_body_is_still_that_body():
    assert decode(AgentMessage, encode(AgentMessage(Hello()))) == AgentMessage(Hello())


def test_missing_and_zero_are_different():
    assert decode(Inventory, encode(Inventory(ram_bytes=0))).ram_bytes == 0
    assert decode(Inventory, encode(Inventory())).ram_bytes is None
    assert decode(Inventory, encode(Inventory(emulation=Emulation()))).emulation == Emulation()
    assert decode(Inventory, encode(Inventory())).emulation is None


def test_equal_values_have_equal_bytes_whatever_the_order_of_a_map():
    forth, back = {"a": "1", "b": "2", "c": "3"}, {"c": "3", "b": "2", "a": "1"}
    assert encode(Inventory(labels=forth)) == encode(Inventory(labels=back))


@pytest.mark.parametrize(
    "value",
    [
        ArtifactRef(size_bytes=2**63),
        BenchmarkRequest(attempt=2**31),
        Inventory(device_id="\ud800"),
        Inventory(device_id=typing.cast("str", 5)),
        Inventory(cores=typing.cast("int", "four")),
    ],
)
def test_what_the_wire_cannot_carry_is_a_codec_error(value):
    with pytest.raises(CodecError, match=f"{type(value).__name__} cannot be encoded"):
        encode(value)


@dataclasses.dataclass(frozen=True)
class _Stranger:
    name: str = ""


def test_a_dataclass_without_a_message_is_refused():
    with pytest.raises(CodecError, match=r"_Stranger, which no \.proto file defines"):
        encode(_Stranger())


def test_bytes_of_something_else_are_refused():
    with pytest.raises(CodecError, match="expected a VariantManifest message, found 3 bytes"):
        decode(VariantManifest, b"\x0a\xff\xff")


def test_enum_values_are_named_alike_on_both_sides():
    assert {tier.name for tier in Tier} == {name.removeprefix("TIER_") for name in _enum_names("Tier")}
    assert {s.name for s in RecordState} == {n.removeprefix("RECORD_STATE_") for n in _enum_names("RecordState")}


def _enum_names(name: str) -> list[str]:
    return [value.name for value in descriptor_pool.Default().FindEnumTypeByName(f"muster.v1.{name}").values]


def _message_with_unknown_field(number: int, content: bytes) -> bytes:
    """Bytes of a message that has one bytes field with a number that this version does not know."""
    file = descriptor_pb2.FileDescriptorProto(name=f"newer_{number}.proto", package="newer", syntax="proto3")
    message = file.message_type.add(name=f"Newer{number}")
    kind = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="unknown", number=number, type=kind.TYPE_BYTES, label=kind.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    newer = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"newer.Newer{number}"))
    payload: bytes = newer(unknown=content).SerializeToString()
    return payload
