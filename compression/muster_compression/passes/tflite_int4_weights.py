"""4-bit weights of matrix products of a TFLite file, per channel, without samples; needs a LiteRT that knows int4.

Old runtimes (tflite-runtime 2.14 on x86) crash on such files, so the result is executed once in a child.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from muster_compression.graph.tflite_quantize import CONVOLUTIONS, PRODUCTS, QUANTIZER_ERRORS, Rule, quantize
from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.passes.tflite_file import check_float, finish, refusal

_NAME = "tflite-int4-weights"
_CONVOLUTIONS_WITH_INT4 = ("CONV_2D",)  # the library has no such form of the others: they get 8 bits


class TfliteInt4WeightsSettings(Settings):
    """What to quantize."""

    convolutions: Literal["int4", "int8", "float"] = "int8"  # int4 ones are unpacked for every inference: 2x slower
    least_share: float = Field(0.5, ge=0.0, le=1.0)  # of the weights that must become int4; less is refused


SETTINGS = TfliteInt4WeightsSettings


def apply(model: WorkingModel, settings: TfliteInt4WeightsSettings, context: PassContext) -> PassOutput:
    """Quantize products to 4 bits (activations rounded to 8 while it runs), convolutions as the setting says.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: a model that is quantized already, or too few of its weights changed.
    """
    check_float(model, _NAME)
    rules = [Rule("dynamic", 4, PRODUCTS)]
    if settings.convolutions != "float":
        rules.append(Rule("weights", 8, CONVOLUTIONS))
    if settings.convolutions == "int4":
        rules.append(Rule("weights", 4, _CONVOLUTIONS_WITH_INT4))
    try:
        payload = quantize(model.path, rules)
    except QUANTIZER_ERRORS as error:
        raise refusal(_NAME, error) from error
    advice = "take tflite-static-int8 for CNNs, or convolutions: int4 for size alone"
    return finish(payload, "int4", "int4", settings.least_share, _NAME, context, advice)
