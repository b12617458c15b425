"""What does not fit in a request or a file, in the words of every other message: what was expected, what was found.

For whatever pydantic and PyYAML find; neither is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 60
_TYPES = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model_attributes": "an object",
    "model": "an object",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def faults_of(faults: Sequence[Mapping[str, Any]], most: int) -> str:
    """The first ones in one line; a fault of what holds another fault is but its consequence."""
    places = [tuple(fault["loc"]) for fault in faults]
    own = [
        fault
        for fault, place in zip(faults, places, strict=True)
        if not any(other[: len(place)] == place and len(other) > len(place) for other in places)
    ]
    return "; ".join(fault_of(fault) for fault in own[:most])


def fault_of(fault: Mapping[str, Any]) -> str:
    """One fault, as pydantic lists it (type, loc, input, ctx): ``where: expected ..., found ...``."""
    where = ".".join(str(part) for part in fault["loc"] if part != "body") or "the whole"
    kind, about = str(fault["type"]), fault.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"{where}: expected no such field"
    if kind == "missing":
        return f"{where}: expected a value, found none"
    if kind == "json_invalid":
        return f"expected JSON, found text that is none ({about.get('error', 'it breaks off')})"
    if kind in ("value_error", "assertion_error"):  # a rule of ours has said it already
        message = str(fault.get("msg", "")).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return f"{where}: {message}" if fault["loc"] else message
    return f"{where}: expected {_expected(kind, about, str(fault.get('msg', '')))}, found {_shown(fault.get('input'))}"


def yaml_fault(error: Exception) -> str:
    """Where YAML breaks, and why; for PyYAML's errors."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"text that is none: {' '.join(str(error).split())[:200]}"
    return f"in line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _expected(kind: str, about: Mapping[str, Any], message: str) -> str:
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {about[name]:g}" if isinstance(about.get(name), int | float) else f"{words} {about.get(name)}"
    if kind in ("string_too_long", "too_long"):
        return f"at most {_counted(about['max_length'], kind)}"
    if kind in ("string_too_short", "too_short"):
        return f"at least {_counted(about['min_length'], kind)}"
    if kind in ("enum", "literal_error"):
        return f"one of {about['expected']}"
    if kind == "finite_number":
        return "a finite number"
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float").removesuffix("_parsing_size")
    if kind == "string_pattern_mismatch":
        return f"text like {about['pattern']}"
    return _TYPES.get(stem) or message or "another value"


def _counted(count: int, kind: str) -> str:
    unit = "character" if kind.startswith("string") else "item"
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
