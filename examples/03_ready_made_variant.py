"""Another network, another format and another layout behind the same face.

    python examples/03_ready_made_variant.py

The baseline is the wide network as ONNX: NCHW. The variant is the tiny one as TFLite: NHWC, other tensor names. The
binding is derived from the shapes and proven by running the evaluation set through both.
"""

from pathlib import Path

from muster_compression.digits.build import build
from muster_compression.import_model import import_model
from muster_compression.variant_of import variant_of

OUT = Path("variants")


def main() -> None:
    files = build(OUT, lambda ratio, note: print(f"{ratio:4.0%} {note}"))
    model = import_model(str(files.wide_onnx), "digits", 1, "builtin:digits", OUT)
    variant = variant_of(model.parent, str(files.tiny_tflite), "tiny-tflite", OUT)
    bound = variant.manifest.binding.inputs[0]
    print(f"{bound.canonical_name} <- {bound.tensor_name}, transposed by {bound.permutation}")
    assert variant.manifest.accuracy is not None
    print(f"agreement with the baseline {variant.manifest.accuracy.agreement:.1%}")


if __name__ == "__main__":
    main()
