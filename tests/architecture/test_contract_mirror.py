"""Every message and enum of the .proto files has a dataclass or an Enum with the same fields, and vice versa."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from enum import Enum

import pytest

from muster_protos import model
from muster_protos.model import benchmark, device, link, local, state
from muster_protos.model import model as model_room
from muster_protos.v1 import benchmark_pb2, device_pb2, link_pb2, local_pb2, model_pb2, state_pb2

_ROOMS = (
    (device, device_pb2),
    (model_room, model_pb2),
    (benchmark, benchmark_pb2),
    (state, state_pb2),
    (link, link_pb2),
    (local, local_pb2),
)
_ROOM_IDS = [mirror.__name__.rpartition(".")[2] for mirror, _ in _ROOMS]
_SCALARS = {
    "TYPE_STRING": str,
    "TYPE_BYTES": bytes,
    "TYPE_BOOL": bool,
    "TYPE_INT32": int,
    "TYPE_INT64": int,
    "TYPE_SINT32": int,
    "TYPE_SINT64": int,
    "TYPE_UINT32": int,
    "TYPE_UINT64": int,
    "TYPE_DOUBLE": float,
    "TYPE_FLOAT": float,
}


def _own(module, predicate):
    return {
        name: item
        for name, item in inspect.getmembers(module, inspect.isclass)
        if item.__module__ == module.__name__ and predicate(item)
    }


def _messages():
    for mirror, generated in _ROOMS:
        classes = _own(mirror, dataclasses.is_dataclass)
        for name, descriptor in generated.DESCRIPTOR.message_types_by_name.items():
            yield pytest.param(classes.get(name), descriptor, id=name)


_MESSAGES = tuple(_messages())


@pytest.mark.parametrize(("mirror", "generated"), _ROOMS, ids=_ROOM_IDS)
def test_messages_and_dataclasses_have_the_same_names(mirror, generated):
    assert set(_own(mirror, dataclasses.is_dataclass)) == set(generated.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize(("mirror", "generated"), _ROOMS, ids=_ROOM_IDS)
def test_enums_have_the_same_names_and_values(mirror, generated):
    enums = _own(mirror, lambda item: issubclass(item, Enum))
    assert set(enums) == set(generated.DESCRIPTOR.enum_types_by_name)
    for name, kind in enums.items():
        prefix = "".join(f"_{letter}" if letter.isupper() else letter for letter in name).strip("_").upper() + "_"
        values = generated.DESCRIPTOR.enum_types_by_name[name].values
        assert [value.name for value in values] == [f"{prefix}{member.name}" for member in kind]
        assert (values[0].number, values[0].name) == (0, f"{prefix}UNSPECIFIED")
        assert all(member.value == member.name.lower() for member in kind)


@pytest.mark.parametrize(("mirror", "descriptor"), _MESSAGES)
def test_fields_have_the_same_names_kinds_and_presence(mirror, descriptor):
    hints = typing.get_type_hints(mirror)
    expected = {field.name: _shape(field) for field in descriptor.fields if _real_oneof(field) is None}
    for oneof in descriptor.oneofs:
        if _real_oneof(oneof.fields[0]) is not None:
            expected[oneof.name] = ("oneof", frozenset(field.message_type.name for field in oneof.fields))
            assert all(field.name == _snake(field.message_type.name) for field in oneof.fields)
    assert {name: _hint_shape(hint, name in expected and expected[name][0]) for name, hint in hints.items()} == expected


@pytest.mark.parametrize(("mirror", "descriptor"), _MESSAGES)
def test_dataclasses_are_frozen_slotted_and_have_defaults(mirror, descriptor):
    assert mirror.__dataclass_params__.frozen
    assert "__slots__" in vars(mirror)
    assert mirror() == mirror()
    assert inspect.getdoc(mirror)


def test_the_package_offers_every_dataclass_and_enum():
    names = set()
    for mirror, _ in _ROOMS:
        names |= set(_own(mirror, lambda item: dataclasses.is_dataclass(item) or issubclass(item, Enum)))
    assert set(model.__all__) == names
    assert model.__all__ == sorted(model.__all__)


def _real_oneof(field):
    """The oneof that the .proto file names; proto3 ``optional`` makes one too, which no one sees."""
    oneof = field.containing_oneof
    return None if oneof is None or oneof.name == f"_{field.name}" else oneof


def _shape(field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return "map", (_kind(key), _kind(value))
    if _is_repeated(field):
        return "repeated", _kind(field)
    has_presence = field.containing_oneof is not None  # proto3 ``optional``
    return ("optional" if has_presence else "plain"), _kind(field)


def _is_repeated(field):
    is_repeated = getattr(field, "is_repeated", None)  # protobuf 6 and later; the label is deprecated there
    return field.label == field.LABEL_REPEATED if is_repeated is None else is_repeated


def _kind(field):
    if field.message_type is not None:
        return field.message_type.name
    if field.enum_type is not None:
        return field.enum_type.name
    names = {getattr(field, name): kind for name, kind in _SCALARS.items()}
    return names[field.type].__name__


def _hint_shape(hint, expected):
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [arg for arg in args if arg is not type(None)]
        if expected == "oneof":
            return "oneof", frozenset(option.__name__ for option in options)
        assert len(options) == 1
        return "optional", _name(options[0])
    if origin is tuple:
        assert args[1:] == (Ellipsis,)
        return "repeated", _name(args[0])
    if origin is not None and issubclass(origin, Mapping):
        return "map", (_name(args[0]), _name(args[1]))
    return "plain", _name(hint)


def _name(hint):
    return getattr(hint, "__supertype__", hint).__name__


def _snake(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
