"""Every template is a recipe with a page of its own; what it makes of a small task is pinned in tests/regression."""

from __future__ import annotations

from pathlib import Path

from muster_compression.recipe import load_recipe, template_names

ROOT = Path(__file__).parents[3]
TEMPLATES = ("edge", "quality", "quick", "tiny", "transformer")


def test_the_templates_are_those_of_the_docs_and_each_says_when():
    assert tuple(template_names()) == TEMPLATES
    for name in TEMPLATES:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.title
        assert len(recipe.when) > 40
        page = (ROOT / "docs" / "recipes" / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n\n**When.**")
        if name != "quick":
            assert all(f"`{variant.name}`" in page for variant in recipe.variants), name
