"""One model, three variants, no fleet.

    python examples/01_compress_alone.py

The same from the command line:

    muster-compress run --model examples/digits.py:make_narrow --data builtin:digits --recipe quick --out variants
"""

from pathlib import Path

from muster_compression.import_model import import_model
from muster_compression.run_recipe import run_recipe

OUT = Path("variants")


def main() -> None:
    source = Path(__file__).with_name("digits.py")
    model = import_model(f"{source}:make_narrow", "digits", 1, "builtin:digits", OUT)
    assert model.manifest.accuracy is not None
    print(f"{model.manifest.name:<12} accuracy {model.manifest.accuracy.value:.1%}  {model.artifact_path}")
    result = run_recipe(model.parent, "quick", OUT, floor="-0.01")
    for variant in result.variants:
        found = variant.manifest.accuracy
        assert found is not None
        kept = "kept" if variant.is_kept else f"dropped: {variant.reason}"
        print(f"{variant.manifest.name:<12} accuracy {found.value:.1%}  agreement {found.agreement:.1%}  {kept}")


if __name__ == "__main__":
    main()
