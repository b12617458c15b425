"""Frozen dataclasses to protobuf bytes and back.

The mapping is by name: a dataclass encodes as the message of the same name in ``muster.v1``, field by field, so that
no field list is written twice. Fields and enum values that this version does not know are ignored: unknown enum
values decode to ``UNSPECIFIED``, an unknown ``oneof`` member to ``None``. A test holds both sides to the same fields.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from muster_protos.errors import CodecError
from muster_protos.v1 import benchmark_pb2, device_pb2, link_pb2, local_pb2, model_pb2, state_pb2

T = TypeVar("T")

_MODULES = (device_pb2, model_pb2, benchmark_pb2, state_pb2, link_pb2, local_pb2)


def encode(value: object) -> bytes:
    """Serialise a contract dataclass deterministically.

    Raises:
        CodecError: a field holds a value that its wire type cannot carry (an int64 overflow, a lone surrogate).
    """
    payload: bytes = to_message(value).SerializeToString(deterministic=True)
    return payload


def decode(cls: type[T], payload: bytes) -> T:
    """Parse ``payload`` as the message named like ``cls``.

    Raises:
        CodecError: the bytes are not such a message.
    """
    message = _message_class(cls.__name__)()
    try:
        message.ParseFromString(payload)
    except (DecodeError, ValueError) as error:
        raise CodecError(f"expected a {cls.__name__} message, found {len(payload)} bytes that do not parse") from error
    return from_message(cls, message)


def to_message(value: object) -> Message:
    """The protobuf message of a contract dataclass; for link adapters whose stubs want message objects."""
    message = _message_class(type(value).__name__)()
    try:
        _fill(message, value)
    except (ValueError, TypeError, OverflowError, UnicodeError) as error:
        raise CodecError(f"{type(value).__name__} cannot be encoded: {error}") from error
    return message


def from_message(cls: type[T], message: Message) -> T:
    """The contract dataclass of a protobuf message."""
    return cls(**{name: read(message) for name, read in _readers(typing.cast("Hashable", cls))})


@functools.cache
def _message_class(name: str) -> type[Message]:
    for module in _MODULES:
        if name in module.DESCRIPTOR.message_types_by_name:
            return typing.cast("type[Message]", getattr(module, name))
    raise CodecError(f"expected a contract dataclass, found {name}, which no .proto file defines")


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fill(message: Message, value: Any) -> None:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is None:
            continue
        if field.name in message.DESCRIPTOR.oneofs_by_name:
            name = _snake(type(item).__name__)
            _fill(getattr(message, name), item)
            getattr(message, name).SetInParent()
        elif isinstance(item, tuple):
            _fill_repeated(getattr(message, field.name), item, message, field.name)
        elif isinstance(item, Mapping):
            getattr(message, field.name).update(item)
        elif isinstance(item, Enum):
            setattr(message, field.name, _enum_number(message, field.name, item))
        elif dataclasses.is_dataclass(item):
            getattr(message, field.name).SetInParent()
            _fill(getattr(message, field.name), item)
        else:
            setattr(message, field.name, item)


def _fill_repeated(target: Any, items: tuple[Any, ...], message: Message, name: str) -> None:
    for item in items:
        if isinstance(item, Enum):
            target.append(_enum_number(message, name, item))
        elif dataclasses.is_dataclass(item):
            _fill(target.add(), item)
        else:
            target.append(item)


def _enum_number(message: Message, field_name: str, item: Enum) -> int:
    enum_type: Any = message.DESCRIPTOR.fields_by_name[field_name].enum_type
    return int(enum_type.values_by_name[f"{_snake(type(item).__name__).upper()}_{item.name}"].number)


@functools.cache
def _readers(cls: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    descriptor = _message_class(cls.__name__).DESCRIPTOR
    hints = _hints(typing.cast("Hashable", cls))
    return tuple((field.name, _reader(descriptor, field.name, hints[field.name])) for field in dataclasses.fields(cls))


def _reader(descriptor: Any, name: str, hint: Any) -> Callable[[Any], Any]:
    options, is_optional = _split_optional(hint)
    if name in descriptor.oneofs_by_name:
        by_field = {_snake(option.__name__): option for option in options}
        return lambda message: _read_oneof(message, name, by_field)
    origin = typing.get_origin(options[0])
    if origin is tuple:
        convert = _converter(descriptor, name, typing.get_args(options[0])[0])
        return lambda message: tuple(convert(item) for item in getattr(message, name))
    if origin is not None and issubclass(origin, Mapping):
        return lambda message: dict(getattr(message, name))
    convert = _converter(descriptor, name, options[0])
    if is_optional:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _read_oneof(message: Any, name: str, by_field: Mapping[str, type[Any]]) -> Any:
    chosen = message.WhichOneof(name)
    return None if chosen is None else from_message(by_field[chosen], getattr(message, chosen))


def _converter(descriptor: Any, name: str, kind: Any) -> Callable[[Any], Any]:
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        prefix = f"{_snake(kind.__name__).upper()}_"
        numbers = {
            value.number: kind.__members__.get(value.name[len(prefix) :], kind.__members__["UNSPECIFIED"])
            for value in descriptor.fields_by_name[name].enum_type.values
        }
        return lambda number: numbers.get(number, kind.__members__["UNSPECIFIED"])
    if dataclasses.is_dataclass(kind):
        return lambda message: from_message(typing.cast("type[Any]", kind), message)
    return lambda item: item


def _split_optional(hint: Any) -> tuple[tuple[Any, ...], bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = tuple(option for option in typing.get_args(hint) if option is not type(None))
        return options, len(options) < len(typing.get_args(hint))
    return (hint,), False


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
