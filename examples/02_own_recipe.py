"""A recipe of your own, with a floor under which variants are dropped.

python examples/02_own_recipe.py
"""

from pathlib import Path

from muster_compression.import_model import import_model
from muster_compression.run_recipe import run_recipe

OUT = Path("variants")


def main() -> None:
    here = Path(__file__).parent
    model = import_model(f"{here}/digits.py:make_narrow", "digits", 1, "builtin:digits", OUT)
    result = run_recipe(
        model.parent, str(here / "02_own_recipe.yaml"), OUT, lambda ratio, note: print(f"{ratio:4.0%} {note}")
    )
    for variant in result.variants:
        manifest = variant.manifest
        verdict = "kept" if variant.is_kept else f"dropped: {variant.reason}"
        print(f"{manifest.name}: {manifest.precision}, {manifest.artifact.size_bytes} bytes, {verdict}")


if __name__ == "__main__":
    main()
