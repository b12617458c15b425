"""float16 weights of a TFLite file: half the size; runtimes on CPUs unpack them at load and compute in float32."""

from __future__ import annotations

from muster_compression.graph.tflite_quantize import CONVOLUTIONS, PRODUCTS, Rule
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.passes.tflite_file import packed_weights

_NAME = "tflite-fp16"


class TfliteFp16Settings(Settings):
    """Nothing to set."""


SETTINGS = TfliteFp16Settings


def apply(model: WorkingModel, settings: TfliteFp16Settings, context: PassContext) -> PassOutput:
    """Halve the weights; inputs and outputs stay float32.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: a model that is not in float32, or nothing changed.
    """
    del settings
    return packed_weights(model, Rule("weights", 16, (*PRODUCTS, *CONVOLUTIONS)), "fp16", "fp16", _NAME, context)
