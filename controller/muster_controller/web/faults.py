"""What does not fit in a request, in the words of every other message: what was expected, what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SHOWN = 60
_TYPES = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
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


def fault_of(fault: Mapping[str, Any]) -> str:
    """One fault, as pydantic lists it (type, loc, input, ctx): ``where: expected ..., found ...``."""
    where = ".".join(str(part) for part in fault["loc"] if part != "body") or "the body"
    kind, about = str(fault["type"]), fault.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"{where}: expected no such field"
    if kind == "missing":
        return f"{where}: expected a value, found none"
    if kind == "json_invalid":
        return f"the body: expected JSON, found text that is none ({about.get('error', 'it breaks off')})"
    return f"{where}: expected {_expected(kind, about, str(fault.get('msg', '')))}, found {_shown(fault.get('input'))}"


def _expected(kind: str, about: Mapping[str, Any], message: str) -> str:
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {about[name]:g}" if isinstance(about.get(name), int | float) else f"{words} {about.get(name)}"
    if kind in ("string_too_long", "too_long"):
        unit = "characters" if kind == "string_too_long" else "items"
        return f"at most {about['max_length']} {unit}"
    if kind in ("string_too_short", "too_short"):
        unit = "characters" if kind == "string_too_short" else "items"
        return f"at least {about['min_length']} {unit}"
    if kind in ("enum", "literal_error"):
        return f"one of {about['expected']}"
    if kind == "finite_number":
        return "a finite number"
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float").removesuffix("_parsing_size")
    return _TYPES.get(stem) or message.removeprefix("Value error, ") or "another value"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
