"""The space of a recipe with free parameters: which variants depend on which, and recipes for single points."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from muster_compression.recipe import BASELINE, Recipe, checked_recipe, parse_yaml, recipe_text
from muster_compression.search.domain import Parameter, filled, parameters_of
from muster_compression.search.point import Point, Value
from muster_protos.errors import InvalidInputError

_TEACHER = "teacher"  # a setting that names another variant


@dataclass(frozen=True, slots=True)
class Space:
    """A recipe with its free parameters; variants are known by their index."""

    name: str  # of the file, for messages
    raw: dict[str, Any]
    parameters: tuple[Parameter, ...]

    def defaults(self) -> dict[str, Value]:
        """The first value of each domain."""
        return {item.name: item.domain.ends()[0] for item in self.parameters}

    def edges(self) -> Iterable[dict[str, Value]]:
        """The defaults, then each value that must be valid, one parameter at a time."""
        yield {}
        for item in self.parameters:
            yield from ({item.name: value} for value in item.domain.ends()[1:])

    def recipe(self, values: Mapping[str, Value]) -> Recipe:
        """The whole recipe with these values, the first of its domain for each that is missing.

        Raises:
            InvalidInputError: it is no recipe then; the message says where.
        """
        return checked_recipe(self._filled(values), self.name)

    def targets(self, format: str, has_torch: bool = True) -> list[int]:  # noqa: A002
        """The variants that can be made of a baseline of this format, with or without its torch module."""
        chosen: list[int] = []
        recipe = self.recipe({})
        names: set[str] = {BASELINE}
        for index, item in enumerate(recipe.variants):
            is_here = has_torch if item.is_from_torch else item.parent != BASELINE or format in item.formats
            if is_here and item.parent in names:
                chosen.append(index)
                names.add(item.name)
        return chosen

    def parameters_for(self, target: int) -> list[Parameter]:
        """Those that the variant depends on, by its own passes and by those of the variants that it needs."""
        needed = {target, *self._needed(target)}
        return [item for item in self.parameters if item.variants & needed]

    def variant_name(self, target: int) -> str:
        """Its name in the recipe."""
        return str(self.raw["variants"][target]["name"])

    def point_yaml(self, target: int, values: Mapping[str, Value]) -> str:
        """A recipe for this variant and what it needs, and nothing else."""
        made = self._filled(values)
        needed = {target, *self._needed(target)}
        made["variants"] = [item for index, item in enumerate(made["variants"]) if index in needed]
        return yaml.safe_dump(made, sort_keys=False)

    def frontier_yaml(self, points: Sequence[tuple[int, Point]], known: Sequence[tuple[int, Point]]) -> str:
        """A recipe without free parameters whose variants are ``points`` (with their targets) and what those need.

        Variants are named by their points; what only others need is named by its point in ``known`` where it is one.
        """
        made = {key: value for key, value in copy.deepcopy(self.raw).items() if key != "variants"}
        made["name"] = f"{self.raw.get('name')}-frontier"
        names: dict[str, str] = {}  # by target and the values that it depends on
        for target, point in known:
            names.setdefault(self._identity(target, point.values), point.key)
        variants: dict[str, Any] = {}
        for target, point in points:
            self._add(variants, names, target, point.values)
        return yaml.safe_dump({**made, "variants": list(variants.values())}, sort_keys=False)

    def _add(self, variants: dict[str, Any], names: dict[str, str], target: int, values: Mapping[str, Value]) -> None:
        identity = self._identity(target, values)
        if identity in variants:
            return
        for other in self._references(target).values():
            self._add(variants, names, other, values)
        item = self._filled(values)["variants"][target]
        item["name"] = self._named(names, target, identity)
        for name, other in self._references(target).items():
            new = self._named(names, other, self._identity(other, values))
            if item.get("from", BASELINE) == name:
                item["from"] = new
            for step in item["passes"]:
                if isinstance(step, dict) and step.get(_TEACHER) == name:
                    step[_TEACHER] = new
        variants[identity] = item

    def _named(self, names: dict[str, str], target: int, identity: str) -> str:
        return names.setdefault(identity, f"{self.variant_name(target)[:26]}-p{len(names) + 1}")

    def _identity(self, target: int, values: Mapping[str, Value]) -> str:
        return json.dumps([target, {item.name: values.get(item.name) for item in self.parameters_for(target)}])

    def _filled(self, values: Mapping[str, Value]) -> dict[str, Any]:
        made: dict[str, Any] = filled(self.raw, list(self.parameters), {**self.defaults(), **values})
        return made

    def _needed(self, target: int) -> set[int]:
        """Parents and teachers, theirs too."""
        found: set[int] = set()
        for other in self._references(target).values():
            found |= {other, *self._needed(other)}
        return found

    def _references(self, target: int) -> dict[str, int]:
        """Earlier variants that this one names, by name."""
        item = self.raw["variants"][target]
        earlier = {str(other["name"]): index for index, other in enumerate(self.raw["variants"][:target])}
        named = [item.get("from", BASELINE)]
        named += [step.get(_TEACHER) for step in item["passes"] if isinstance(step, dict)]
        return {name: earlier[name] for name in named if isinstance(name, str) and name in earlier}


def load_space(text: str) -> Space:
    """The space of a template or a YAML file; every choice and both ends of each range are checked.

    Raises:
        NotFoundError: there is no such recipe.
        InvalidInputError: it is none, has no free parameters, or a value of one is not what its pass takes.
    """
    name = Path(text).name
    raw = parse_yaml(recipe_text(text), name)
    parameters = tuple(parameters_of(raw))
    if not parameters:
        raise InvalidInputError(
            f"{name} has no free parameters such as `ratio: {{low: 0.3, high: 0.8}}`; there is nothing to search, "
            "`muster-compress run` runs it"
        )
    assert isinstance(raw, dict)  # parameters stand in it
    space = Space(name, raw, parameters)
    for values in space.edges():
        space.recipe(values)
    return space
