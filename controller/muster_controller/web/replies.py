"""The entities as JSON: one serialiser for every reply, so that a dataclass is its own REST shape."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

from fastapi import Response
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from muster_controller.ports import Page

T = TypeVar("T")


class Items(BaseModel, Generic[T]):
    """A page of a list; ``next_cursor`` is empty on the last one."""

    items: list[T]
    next_cursor: str = ""


class ErrorBody(BaseModel):
    """What went wrong, in one line."""

    kind: str
    message: str


class ErrorReply(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorBody


def as_json(value: object) -> bytes:
    """Bytes as base64, NaN and infinities as null, enums by value; half a character (a lone surrogate) as "?"."""
    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="null")
    except PydanticSerializationError:
        plain = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="null")
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def reply(value: object, status_code: int = 200) -> Response:
    """``value`` (a dataclass, or a mapping of them) as a JSON answer."""
    return Response(as_json(value), status_code, media_type="application/json")


def page(found: Page[Any]) -> Response:
    return reply({"items": found.items, "next_cursor": found.next_cursor})


def items(found: tuple[Any, ...], next_cursor: str = "", status_code: int = 200) -> Response:
    return reply({"items": found, "next_cursor": next_cursor}, status_code)
