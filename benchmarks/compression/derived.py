"""Recipes made from a template: in small for trials, for one format, and as its control without a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from muster_compression.artifact import write_bytes
from muster_compression.passes.port import Form
from muster_compression.passes.registry import PASSES
from muster_compression.recipe import BASELINE, Recipe, VariantRecipe, load_recipe

_LENGTHS = ("epochs", "step_epochs")
_DISTILL = "distill"
STUDENT = "student-alone"
"""Begins the names of the variants that are the student in fp32, trained on the labels alone."""


def in_small(template: str, share: float, folder: Path) -> str:
    """``template`` with ``share`` of its epochs, at least one where there was one; itself for a share of 1."""
    if share == 1.0:
        return template
    return _written(_shortened(_plain(load_recipe(template)), share), folder)


def for_tflite_files(recipe: str, folder: Path) -> str:
    """The variants that begin with a TFLite baseline's file; "" when there are none."""
    loaded = load_recipe(recipe)
    chosen: list[VariantRecipe] = []
    for variant in loaded.variants:
        begins = variant.parent == BASELINE or any(variant.parent == item.name for item in chosen)
        if begins and not variant.is_from_torch and Form.TFLITE in variant.passes[0].spec.takes:
            chosen.append(variant)
    return _with(loaded, chosen, "tflite", folder) if chosen else ""


def control_of(recipe: str, folder: Path) -> str:
    """The variants that a teacher had a part in, from scratch and with labels alone, and the student itself in fp32.

    The student's architecture, its budget and all later passes stay; it gets neither the teacher's answers nor its
    weights, so it is what somebody without the teacher would have. (What the answers alone bring is the passes' own
    control.) "" when nothing is distilled.
    """
    loaded = load_recipe(recipe)
    chosen = [item for item in loaded.variants if _taught(loaded, item)]
    if not chosen:
        return ""
    needed = {item.name for variant in chosen for item in _line(loaded, variant)}
    plain = _plain(loaded.model_copy(update={"variants": tuple(v for v in loaded.variants if v.name in needed)}))
    plain |= {"name": f"{loaded.name}-control", "floor": ""}
    plain["variants"] = [*_students(plain["variants"]), *plain["variants"]]
    for variant in plain["variants"]:
        for step in variant["passes"]:
            if "control" in PASSES[step["pass"]].settings.model_fields:  # a control needs none of its own
                step["control"] = False
            if step["pass"] == _DISTILL:
                step |= {"alpha": 0.0, "features": "none"}
                if isinstance(step.get("student"), dict):  # nor does it begin with the teacher's weights
                    step["student"] = {**step["student"], "keep_weights": False}
    return _written(plain, folder)


def _students(variants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first chain that distils, cut off behind that and exported to both formats."""
    first = next(item for item in variants if any(step["pass"] == _DISTILL for step in item["passes"]))
    if first["from"] != BASELINE:
        return []
    end = next(index for index, step in enumerate(first["passes"]) if step["pass"] == _DISTILL) + 1
    chain = first["passes"][:end]
    return [
        {
            "name": f"{STUDENT}-{form}",
            "from": BASELINE,
            "passes": [*(dict(s) for s in chain), {"pass": f"export-{form}"}],
        }
        for form in ("onnx", "tflite")
    ]


def _line(recipe: Recipe, variant: VariantRecipe) -> Iterator[VariantRecipe]:
    """The variant and those that it comes from."""
    yield variant
    parent = next((item for item in recipe.variants if item.name == variant.parent), None)
    if parent is not None:
        yield from _line(recipe, parent)


def _taught(recipe: Recipe, variant: VariantRecipe) -> bool:
    return any(step.name == _DISTILL for item in _line(recipe, variant) for step in item.passes)


def _with(recipe: Recipe, variants: Sequence[VariantRecipe], suffix: str, folder: Path) -> str:
    plain = _plain(recipe.model_copy(update={"variants": tuple(variants)}))
    return _written(plain | {"name": f"{recipe.name}-{suffix}"}, folder)


def _plain(recipe: Recipe) -> dict[str, Any]:
    """As YAML has it."""
    variants = [
        {
            "name": item.name,
            "from": item.parent,
            "formats": list(item.formats),
            "passes": [{"pass": step.name, **step.settings} for step in item.passes],
        }
        for item in recipe.variants
    ]
    return {**recipe.model_dump(mode="json", exclude={"variants"}), "variants": variants}


def _shortened(value: Any, share: float) -> Any:
    if isinstance(value, dict):
        return {
            key: max(1, round(share * item)) if key in _LENGTHS and item else _shortened(item, share)
            for key, item in value.items()
        }
    return [_shortened(item, share) for item in value] if isinstance(value, list) else value


def _written(plain: dict[str, Any], folder: Path) -> str:
    path = folder / f"{plain['name']}.yaml"
    write_bytes(path, yaml.safe_dump(plain, sort_keys=False).encode())
    load_recipe(str(path))  # a derived recipe must be one
    return str(path)
