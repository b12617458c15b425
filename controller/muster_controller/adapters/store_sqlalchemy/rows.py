"""Dataclass to row and back, by field name and type; no field list is written twice.

A contract dataclass becomes codec bytes, an Enum its value, a tuple or mapping JSON, everything else itself.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from muster_protos import codec

T = TypeVar("T")

_CONTRACT = "muster_protos.model"


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


class RowShape(Generic[T]):
    """How values of one frozen dataclass lie in a table whose columns bear the names of its fields."""

    def __init__(self, cls: type[T], without: tuple[str, ...] = ()) -> None:
        hints = typing.get_type_hints(cls)
        self._cls = cls
        self._fields = tuple(
            _field(field.name, hints[field.name])
            for field in dataclasses.fields(typing.cast("Any", cls))
            if field.name not in without
        )

    def row(self, value: T) -> dict[str, Any]:
        """The columns of ``value``."""
        return {field.name: field.write(getattr(value, field.name)) for field in self._fields}

    def value(self, row: RowMapping, **rest: Any) -> T:
        """The dataclass of a row; ``rest`` are the fields that lie elsewhere."""
        return self._cls(**{field.name: field.read(row[field.name]) for field in self._fields}, **rest)


def _field(name: str, hint: Any) -> _Field:
    kind = _without_none(hint)
    if typing.get_origin(kind) is not None:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        return _optional(name, lambda item: adapter.dump_python(item, mode="json"), adapter.validate_python)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _optional(name, lambda item: item.value, kind)
    if dataclasses.is_dataclass(kind):
        if not kind.__module__.startswith(_CONTRACT):
            raise TypeError(f"expected a contract dataclass in field {name}, found {kind}")
        return _optional(name, codec.encode, lambda blob: codec.decode(typing.cast("type[Any]", kind), blob))
    return _Field(name, _same, _same)


def _optional(name: str, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> _Field:
    return _Field(
        name,
        lambda item: None if item is None else write(item),
        lambda item: None if item is None else read(item),
    )


def _same(item: Any) -> Any:
    return item


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if len(options) == 1:
            return options[0]
    return hint
