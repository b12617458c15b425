"""Free parameters of a recipe, found in its YAML: ``{choices: [...]}`` or ``{low: , high: , log: true}``."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from muster_compression.search.point import Value
from muster_protos.errors import InvalidInputError

Place: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value in the YAML."""

_CHOICES, _RANGE, _OPTIONAL = frozenset(("choices",)), frozenset(("low", "high")), frozenset(("log", "name"))


@dataclass(frozen=True, slots=True)
class Domain:
    """What a parameter may be: one of ``choices``, or a number from ``low`` to ``high``."""

    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False

    @property
    def count(self) -> int | None:
        """How many values there are; None for real numbers."""
        if self.choices:
            return len(self.choices)
        return int(self.high) - int(self.low) + 1 if self.is_whole else None

    def values(self) -> tuple[Value, ...]:
        """All of a countable domain."""
        return self.choices or tuple(range(int(self.low), int(self.high) + 1))

    def ends(self) -> tuple[Value, ...]:
        """What has to be valid: every choice, or both ends."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.is_whole else (self.low, self.high)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(str(value) for value in self.choices)
        return f"{self.low:g} to {self.high:g}{', whole' * self.is_whole}{', log scale' * self.is_log}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A free value of the recipe; one that is named stands in several places."""

    name: str  # "<variant>.<pass>.<setting>", or its own
    domain: Domain
    places: tuple[Place, ...]

    @property
    def variants(self) -> frozenset[int]:
        """Indices of the recipe's variants in whose passes it stands."""
        return frozenset(int(place[1]) for place in self.places)


def parameters_of(raw: object) -> list[Parameter]:
    """All free parameters of a recipe's YAML, in its order.

    Raises:
        InvalidInputError: a domain is empty, upside down or has keys that it does not take.
    """
    found: dict[str, Parameter] = {}
    for place, name, given in _domains(raw):
        domain = _domain(name, given)
        own = str(given.get("name") or name)
        known = found.get(own)
        if known is not None and known.domain != domain:
            raise InvalidInputError(f"{own}: expected the same domain wherever it stands, found {domain}")
        found[own] = Parameter(own, domain, (*(known.places if known else ()), place))
    return list(found.values())


def filled(raw: object, parameters: list[Parameter], values: Mapping[str, Value]) -> Any:
    """The YAML with each parameter replaced by its value."""
    made: Any = copy.deepcopy(raw)
    for parameter in parameters:
        for place in parameter.places:
            target = made
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = values[parameter.name]
    return made


def _domains(raw: object) -> Iterator[tuple[Place, str, Mapping[str, Any]]]:
    variants = raw.get("variants") if isinstance(raw, Mapping) else None
    for index, variant in enumerate(variants if isinstance(variants, list) else ()):
        passes = variant.get("passes") if isinstance(variant, Mapping) else None
        seen: dict[str, int] = {}
        for step_index, step in enumerate(passes if isinstance(passes, list) else ()):
            if not isinstance(step, Mapping):
                continue
            pass_name = str(step.get("pass"))
            seen[pass_name] = seen.get(pass_name, 0) + 1
            number = f"#{seen[pass_name]}" if seen[pass_name] > 1 else ""
            place: Place = ("variants", index, "passes", step_index)
            yield from _inside(step, place, f"{variant.get('name')}.{pass_name}{number}")


def _inside(value: object, place: Place, name: str) -> Iterator[tuple[Place, str, Mapping[str, Any]]]:
    if not isinstance(value, Mapping):
        return
    keys = frozenset(str(key) for key in value)
    if keys >= _CHOICES or keys >= _RANGE:
        yield place, name, value
        return
    for key, item in value.items():
        yield from _inside(item, (*place, key), f"{name}.{key}")


def _domain(name: str, given: Mapping[str, Any]) -> Domain:
    if "choices" in given:
        _no_other_keys(name, given, _CHOICES | {"name"})
        choices = given["choices"]
        if not isinstance(choices, list) or not choices or any(isinstance(item, (dict, list)) for item in choices):
            raise InvalidInputError(f"{name}: expected choices as a list of values, found {choices!r}")
        return Domain(tuple(dict.fromkeys(choices)))
    _no_other_keys(name, given, _RANGE | _OPTIONAL)
    low, high = given["low"], given["high"]
    if not all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in (low, high)
    ):
        raise InvalidInputError(f"{name}: expected numbers as low and high, found {low!r} and {high!r}")
    if low >= high:
        raise InvalidInputError(f"{name}: expected low below high, found {low:g} and {high:g}")
    is_log = bool(given.get("log", False))
    if is_log and low <= 0:
        raise InvalidInputError(f"{name}: expected low above 0 on a log scale, found {low:g}")
    is_whole = isinstance(low, int) and isinstance(high, int)
    return Domain((), float(low), float(high), is_log, is_whole)


def _no_other_keys(name: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    others = sorted(str(key) for key in given if key not in known)
    if others:
        raise InvalidInputError(
            f"{name}: expected a free parameter with {', '.join(sorted(known))}, found {others[0]!r}"
        )
