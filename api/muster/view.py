"""A reply of the controller with names: the JSON fields stay reachable, whatever a newer controller adds to them."""

from __future__ import annotations

from muster.connection import Json


class View:
    """One thing as it was when it was asked for. ``fields`` holds everything that the controller said."""

    __slots__ = ("fields",)

    def __init__(self, fields: Json) -> None:
        self.fields = fields

    def __repr__(self) -> str:
        identity = next((f"{k}={v}" for k, v in self.fields.items() if k.endswith("_id")), "")
        return f"{type(self).__name__}({identity})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, View) and other.fields == self.fields

    def __hash__(self) -> int:
        return hash(repr(self))
