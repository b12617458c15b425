"""Every template that ships, on a small task: each variant is in its band of size, accuracy and agreement.

The bands are in bands.yaml, with how they were measured and how to renew them.
"""

from __future__ import annotations

import pytest

from muster_compression.recipe import load_recipe, template_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_every_template_stays_in_its_bands(run_name, found_of, bands, misses, renewed, renew_command):
    if renewed(run_name):
        pytest.skip(f"bands of {run_name} renewed")
    assert run_name in bands, f"{run_name} has no bands; measure them: {renew_command(run_name)}"
    found, wanted = found_of(run_name), bands[run_name]
    lines = [f"{name} is new" for name in found if name not in wanted]
    lines += [f"{name} did not come out" for name in wanted if name not in found]
    lines += [f"{name}: {line}" for name in wanted if name in found for line in misses(found[name], wanted[name])]
    words = "\n  ".join(lines)
    assert not lines, f"{run_name} drifted:\n  {words}\nIf that is meant, renew: {renew_command(run_name)}"


def test_every_variant_of_every_template_comes_out_in_every_format_that_it_names(bands):
    """Of some baseline; what a run passes over or cannot make has a band elsewhere."""
    missing = []
    for template in template_names():
        mine = [bands[run] for run in bands if run.startswith(f"{template} of ")]
        for variant in load_recipe(template).variants:
            made = {run[variant.name].get("format") for run in mine if variant.name in run}
            formats = {variant.passes[-1].spec.gives.value} if variant.is_from_torch else set(variant.formats)
            missing += [f"{template}: {variant.name} as {name}" for name in formats - made]
    assert missing == []
    assert {run.rpartition(" of ")[0] for run in bands} - {""} == set(template_names())


def test_bands_are_narrow_enough_to_see_five_points(bands):
    """Int8 that loses five points of accuracy, or disagrees with its parent on five more, is out of its band."""
    wide = [
        f"{run}: {name}: {figure}"
        for run, variants in bands.items()
        for name, band in variants.items()
        if band.get("precision") == "int8"
        for figure in ("accuracy", "parent_agreement")
        if band[figure]["low"] < band[figure]["measured"] - 0.05
    ]
    assert wide == []
