"""Recipes as data: YAML, checked before anything runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from muster_compression.floor import parse_floor
from muster_compression.nearest_field import suggestion
from muster_compression.passes.port import Form, Settings
from muster_compression.passes.registry import PassSpec, find_pass
from muster_compression.search.domain import parameters_of
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.faults import faults_of, yaml_fault

BASELINE = "baseline"
_TEMPLATES = Path(__file__).parent / "recipes"
_CLOSED = ConfigDict(extra="forbid", frozen=True)


class Step(BaseModel):
    """One pass with its settings: ``{pass: onnx-fp16, <setting>: <value>, ...}``."""

    model_config = _CLOSED

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "pass" in value:
            rest = {key: item for key, item in value.items() if key != "pass"}
            return {"name": value["pass"], "settings": rest}
        return value

    @model_validator(mode="after")
    def _check(self) -> Step:
        try:
            self.parsed()
        except InvalidInputError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def spec(self) -> PassSpec:
        """The pass."""
        return find_pass(self.name)

    def parsed(self) -> Settings:
        """The settings as the pass takes them.

        Raises:
            InvalidInputError: no such pass, or settings that it does not take.
        """
        try:
            return self.spec.settings.model_validate(self.settings)
        except ValidationError as error:
            message = f"{self.name}: {_one_line(error)}{suggestion(error, self.spec.settings)}"
            raise InvalidInputError(message) from error


class VariantRecipe(BaseModel):
    """The passes that lead to one variant."""

    model_config = _CLOSED

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    parent: str = Field(BASELINE, alias="from")
    formats: tuple[Literal["onnx", "tflite"], ...] = ("onnx", "tflite")
    """What may come out; a variant that starts from the baseline's file is passed over for baselines of others."""
    passes: tuple[Step, ...] = Field(min_length=1)

    @property
    def is_from_torch(self) -> bool:
        """Whether it starts from its parent's torch form rather than from its file."""
        return Form.TORCH in self.passes[0].spec.takes

    @property
    def gives(self) -> Form:
        """What comes out."""
        return self.passes[-1].spec.gives

    @model_validator(mode="after")
    def _chain(self) -> VariantRecipe:
        for before, after in zip(self.passes, self.passes[1:], strict=False):
            if before.spec.gives not in after.spec.takes:
                takes = " or ".join(sorted(form.value for form in after.spec.takes))
                raise ValueError(
                    f"{self.name}: {after.name} takes {takes}, {before.name} gives {before.spec.gives.value}"
                )
        if self.gives is Form.TORCH:
            raise ValueError(f"{self.name} ends as a torch module; end it with export-onnx or export-tflite")
        if self.gives.value not in self.formats:
            raise ValueError(f"{self.name} gives {self.gives.value}, which is not among its formats")
        return self


class Recipe(BaseModel):
    """An ordered set of variants; each starts at the baseline or at an earlier variant."""

    model_config = _CLOSED

    name: str
    title: str = ""
    when: str = ""  # when to use it, for people
    seed: int = 0
    floor: str = ""
    variants: tuple[VariantRecipe, ...] = Field(min_length=1)

    @field_validator("floor", mode="before")
    @classmethod
    def _floor(cls, value: object) -> str:
        text = "" if value is None else str(value)
        try:
            parse_floor(text)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error
        return text

    @model_validator(mode="after")
    def _parents(self) -> Recipe:
        known = {BASELINE}
        for variant in self.variants:
            if variant.parent not in known:
                raise ValueError(f"{variant.name} starts from {variant.parent!r}, which does not come before it")
            known.add(variant.name)
        self._check_names()
        return self

    def _check_names(self) -> None:
        """One name may stand for an ONNX and for a TFLite baseline, but not for two variants of one run."""
        seen: dict[str, list[VariantRecipe]] = {}
        for variant in self.variants:
            for other in seen.setdefault(variant.name, []):
                is_exclusive = variant.parent == other.parent == BASELINE and not (
                    variant.is_from_torch or other.is_from_torch or variant.gives is other.gives
                )
                if not is_exclusive:
                    raise ValueError(f"two variants are named {variant.name!r}")
            seen[variant.name].append(variant)


def load_recipe(text: str) -> Recipe:
    """A template by name or a YAML file by path.

    Raises:
        NotFoundError: there is neither; the nearest template is suggested.
        InvalidInputError: the YAML is not a recipe; the message says where.
    """
    return parse_recipe(recipe_text(text), Path(text).name)


def recipe_text(text: str) -> str:
    """The YAML of a template or a file.

    Raises:
        NotFoundError: there is neither; the nearest template is suggested.
    """
    path = Path(text)
    if not path.is_file():
        path = _TEMPLATES / f"{text}.yaml"
        if "/" in text or not path.is_file():
            near = difflib.get_close_matches(text, template_names(), 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(template_names())}"
            raise NotFoundError(f"no recipe {text!r}; {hint}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path.name}: expected a recipe in YAML, found bytes that are no text") from error


def parse_recipe(text: str, shown_name: str) -> Recipe:
    """Recipe from YAML text.

    Raises:
        InvalidInputError: it is not one; the message says where.
    """
    raw = parse_yaml(text, shown_name)
    if free := parameters_of(raw):
        names = ", ".join(item.name for item in free[:3]) + (", ..." if len(free) > 3 else "")
        raise InvalidInputError(
            f"{shown_name} has free parameters ({names}): give them values, or search them with "
            "`muster-compress search --recipe`"
        )
    return checked_recipe(raw, shown_name)


def parse_yaml(text: str, shown_name: str) -> object:
    """What the YAML holds, unchecked.

    Raises:
        InvalidInputError: it is no YAML; the message says where.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{shown_name}: expected a recipe in YAML, found {yaml_fault(error)}") from error


def checked_recipe(raw: object, shown_name: str) -> Recipe:
    """Recipe from what its YAML holds.

    Raises:
        InvalidInputError: it is not one; the message says where.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InvalidInputError(f"{shown_name}: {_one_line(error)}{suggestion(error, Recipe)}") from error


def template_names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(path.stem for path in _TEMPLATES.glob("*.yaml"))


def _one_line(error: ValidationError) -> str:
    """Where and what, for the first two mistakes."""
    return faults_of(error.errors(), 2)
