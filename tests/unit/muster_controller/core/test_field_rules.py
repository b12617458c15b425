"""Every field of everything that a device says has a rule, and no hostile value gets past it."""

from __future__ import annotations

import dataclasses
import enum
import math
import time
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_controller.core.field_rules import MOST_ITEMS, Octets, Span, Words, message_reason, rule_of
from muster_controller.core.report_rules import check_report
from muster_controller.testing_values import make_request
from muster_protos.model import (
    BenchmarkRecord,
    Event,
    Goodbye,
    Hello,
    LoadResult,
    Progress,
    Report,
    ReportedState,
    Telemetry,
)

SAID = (Hello, ReportedState, Telemetry, Progress, Goodbye, Report)
BODIES = (BenchmarkRecord, Event, LoadResult)
NAN_AND_FAR = (math.nan, math.inf, -math.inf, 1e300, -1e300)
HOSTILE_TEXTS = ("a\0b", "x" * 65_536, "\u202e" * 5_000)
NO_IDS = (
    "../x",
    "a/b",
    "a+b",
    "a#b",
    "$SYS",
    "a\u202eb",
    "\u0430bc",
    "a\u200db",
    " a",
    "a" * 65,
    "-a",
    "a\n",
    "\ufeffa",
)
NO_SHA256S = ("A" * 64, "0" * 63, "../" * 20, "0" * 64 + "\n")


def kinds(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows, without None and NewType."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return tuple(getattr(option, "__supertype__", option) for option in options if option is not type(None))


def leaf(hint: Any) -> Any:
    """The type of the values that a field holds in the end; a mapping's is that of its values."""
    (kind,) = kinds(hint)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return leaf(typing.get_args(kind)[0])
    if origin is not None and issubclass(origin, Mapping):
        return leaf(typing.get_args(kind)[1])
    return kind


def messages(cls: type, seen: set[type] | None = None) -> Iterator[type]:
    """``cls`` and every dataclass below it."""
    seen = set() if seen is None else seen
    if cls in seen:
        return
    seen.add(cls)
    yield cls
    for hint in typing.get_type_hints(cls).values():
        for kind in kinds(hint):
            below = leaf(kind)
            if dataclasses.is_dataclass(below):
                yield from messages(typing.cast("type", below), seen)


FIELDS = [
    (cls, name, leaf(hint))
    for cls in dict.fromkeys(found for said in SAID for found in messages(said))
    for name, hint in typing.get_type_hints(cls).items()
    if len(kinds(hint)) == 1 and not dataclasses.is_dataclass(leaf(hint))
]


def test_the_sweep_sees_the_whole_contract() -> None:
    """A guard of the guard: were the walk broken, there would be nothing to find."""
    assert len(FIELDS) > 200
    assert {Hello, BenchmarkRecord, LoadResult, Event} <= {cls for cls, _, _ in FIELDS}


@pytest.mark.parametrize(("cls", "name", "kind"), FIELDS, ids=[f"{c.__name__}.{n}" for c, n, _ in FIELDS])
def test_every_field_has_a_rule_of_its_kind(cls: type, name: str, kind: type) -> None:
    rule = rule_of(cls, name)
    if kind is bool or issubclass(kind, enum.Enum):
        assert rule is None
    else:
        wanted = {int: Span, float: Span, str: Words, bytes: Octets}[kind]
        assert isinstance(rule, wanted), f"{cls.__name__}.{name} has no rule in field_rules: {rule}"


def plausible(cls: type, body: type | None = None) -> Any:
    """An instance with every field filled, optional ones and lists too."""
    return cls(**{name: filled(cls, name, hint, body) for name, hint in typing.get_type_hints(cls).items()})


def filled(cls: type, name: str, hint: Any, body: type | None) -> Any:
    options = kinds(hint)
    if len(options) > 1:
        return plausible(typing.cast("type", body))
    origin, value = typing.get_origin(options[0]), one_value(cls, name, leaf(hint))
    if origin is tuple:
        return (value,)
    return {"key": value} if origin is not None and issubclass(origin, Mapping) else value


def one_value(cls: type, name: str, kind: Any) -> Any:
    rule = rule_of(cls, name)
    if dataclasses.is_dataclass(kind):
        return plausible(typing.cast("type", kind))
    if issubclass(kind, enum.Enum):
        return list(kind)[1]
    if isinstance(rule, Span):
        return kind(max(rule.low, 0.0))
    return {bool: True, bytes: b"x", str: "0" * 64 if rule is Words.SHA256 else "a"}[kind]


def spoiled(value: Any, cls: type | None = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """(where, copy of ``value`` with one field of it made hostile), for every field at every depth."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for where, item in spoiled(getattr(value, field.name), type(value), field.name):
                yield f"{type(value).__name__}.{where}", dataclasses.replace(value, **{field.name: item})  # type: ignore[type-var]
    elif isinstance(value, tuple):
        yield f"{name} (items)", value * (MOST_ITEMS + 1)
        for where, item in spoiled(value[0], cls, name):
            yield where, (item,)
    elif isinstance(value, Mapping):
        yield f"{name} (items)", {f"k{i}": value["key"] for i in range(MOST_ITEMS + 1)}
        yield f"{name} (key)", {"a\0b": value["key"]}
        yield f"{name} (key)", {"k" * 65_536: value["key"]}
        for where, item in spoiled(value["key"], cls, name):
            yield where, {"key": item}
    elif cls is not None:
        yield from ((f"{name} = {item!r:.60}", item) for item in hostile(value, rule_of(cls, name)))


def hostile(value: Any, rule: object) -> Iterator[Any]:
    if isinstance(rule, Span):
        if isinstance(value, float):
            yield from NAN_AND_FAR
            yield from (rule.low - 1.0, rule.high * 2 + 1.0) if rule.high < 1e18 else ()
        else:
            yield from (int(rule.low) - 1, -(2**63)) if rule.low > -(2**63) else ()
            yield from (int(rule.high) + 1, 2**63 - 1) if rule.high < 2**62 else ()
    elif isinstance(value, str):
        yield from HOSTILE_TEXTS
        yield from NO_IDS if rule is Words.ID else NO_SHA256S if rule is Words.SHA256 else ()
    elif isinstance(value, bytes):
        yield b"x" * 300_000


WHOLE = [(cls.__name__, plausible(cls)) for cls in SAID if cls is not Report]
WHOLE += [(f"Report of {body.__name__}", plausible(Report, body)) for body in BODIES]


@pytest.mark.parametrize(("name", "message"), WHOLE, ids=[name for name, _ in WHOLE])
def test_a_message_with_every_field_filled_is_believed(name: str, message: object) -> None:
    assert message_reason(message) == ""


@pytest.mark.parametrize(("name", "message"), WHOLE, ids=[name for name, _ in WHOLE])
def test_no_hostile_value_of_any_field_is_believed(name: str, message: object) -> None:
    believed, count = [], 0
    for where, spoilt in spoiled(message):
        count += 1
        reason = message_reason(spoilt)
        if not reason or len(reason) > 300:
            believed.append(where)
        if isinstance(spoilt, Report):
            assert check_report("pi-1", spoilt, make_request()), where
    assert believed == []
    assert count >= 5


def test_a_text_of_10_mb_is_refused_at_once() -> None:
    started_s = time.monotonic()
    reason = message_reason(Report("events", 0, 1, Event("e-1", "child.crashed", reason="x" * 10_000_000)))
    assert reason == "reason: expected at most 4096 characters, found 10000000"
    assert time.monotonic() - started_s < 1


def test_an_absurd_clock_is_no_lie() -> None:
    for at_ns in (-(2**63), 0, 2**63 - 1):
        assert message_reason(Telemetry(at_ns=at_ns)) == ""


@settings(deadline=None)
@given(st.floats(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=200))
def test_whatever_a_sample_says_the_verdict_is_one_line(number: float, count: int, text: str) -> None:
    sample = Telemetry(count, text, text, number, count, count, number, number, count, number, number, count, number)
    reason = message_reason(sample)
    assert len(reason) <= 300
    if not reason:
        assert number >= 0
        assert count >= 0
