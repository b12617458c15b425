"""8-bit weights of a TFLite file without samples: activations of matrix products are rounded while the model runs.

Convolutions get 8-bit weights that the runtime unpacks once when it loads the model: they take a quarter of the room at
the speed of float, where dynamic convolutions were 3.5 times slower than float on a small CNN.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from muster_compression.graph.tflite_quantize import CONVOLUTIONS, PRODUCTS, QUANTIZER_ERRORS, Rule, quantize
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.passes.tflite_file import check_float, finish, refusal

_NAME = "tflite-dynamic-int8"


class TfliteDynamicInt8Settings(Settings):
    """What to quantize."""

    convolutions: Literal["weights", "float"] = "weights"  # 8-bit weights unpacked at load, or untouched
    least_share: float = Field(0.5, ge=0.0, le=1.0)  # of the weights that must become int8; less is refused


SETTINGS = TfliteDynamicInt8Settings


def apply(model: WorkingModel, settings: TfliteDynamicInt8Settings, context: PassContext) -> PassOutput:
    """Quantize the weights of products and, unpacked at load, of convolutions; inputs and outputs stay float.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: a model that is quantized already, or too few of its weights changed.
    """
    check_float(model, _NAME)
    rules = [Rule("dynamic", 8, PRODUCTS)]
    if settings.convolutions == "weights":
        rules.append(Rule("weights", 8, CONVOLUTIONS))
    try:
        payload = quantize(model.path, rules)
    except QUANTIZER_ERRORS as error:
        raise refusal(_NAME, error) from error
    return finish(payload, "int8", "int8", settings.least_share, _NAME, context, "take tflite-static-int8 for CNNs")
