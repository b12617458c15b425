"""The field that a misspelt one stands for, in a pydantic model or in what it holds."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_CUTOFF = 0.6


def suggestion(error: ValidationError, model: type[BaseModel]) -> str:
    """``, did you mean 'epochs'?`` for the first field that is not known; "" where nothing is near."""
    for fault in error.errors():
        if fault["type"] != "extra_forbidden":
            continue
        *place, name = fault["loc"]
        near = difflib.get_close_matches(str(name), _fields(model, place), 1, _CUTOFF)
        if near:
            return f", did you mean {near[0]!r}?"
    return ""


def _fields(model: type[BaseModel], place: list[int | str]) -> list[str]:
    """As they are written in YAML, of the models that stand at ``place``."""
    models = [model]
    for part in place:
        if isinstance(part, str):
            annotations = [field.annotation for item in models for name, field in _named(item) if name == part]
            models = [found for annotation in annotations for found in _models(annotation)] or models
    return [name for item in models for name, _ in _named(item)]


def _named(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Those in a type such as ``tuple[Model, ...]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
