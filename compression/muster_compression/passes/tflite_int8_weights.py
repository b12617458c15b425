"""8-bit weights of a TFLite file, arithmetic in floats: a quarter of the size at the speed of float, without samples.

The runtime (XNNPACK) unpacks constants once when it loads the model. For narrow CNNs, where integer kernels are slower
than float ones, and wherever static int8 costs too much.
"""

from __future__ import annotations

from muster_compression.graph.tflite_quantize import Rule
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.passes.tflite_file import packed_weights

_NAME = "tflite-int8-weights"


class TfliteInt8WeightsSettings(Settings):
    """Nothing to set."""


SETTINGS = TfliteInt8WeightsSettings


def apply(model: WorkingModel, settings: TfliteInt8WeightsSettings, context: PassContext) -> PassOutput:
    """Round the weights per output channel; inputs, outputs and everything in between stay float32.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: a model that is not in float32, or nothing changed.
    """
    del settings
    return packed_weights(model, Rule("weights"), "weights8", "int8", _NAME, context)
