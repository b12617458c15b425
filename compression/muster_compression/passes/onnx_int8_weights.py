"""8-bit weights, arithmetic in floats: a quarter of the size at the speed of float, without samples.

For narrow CNNs, where integer kernels are slower than float ones, and wherever static int8 costs too much. The runtime
unpacks the weights once when it loads the model, if it is told to (``muster_bench.runtimes.session_onnxruntime``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from muster_compression.graph.onnx_clean import save_onnx
from muster_compression.graph.onnx_packed import pack_weights
from muster_compression.graph.onnx_weights import WeightedOperator, weighted_operators
from muster_compression.passes.onnx_float import check_names, load_float
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel

_NAME = "onnx-int8-weights"


class OnnxInt8WeightsSettings(Settings):
    """What to pack."""

    min_weights: int = Field(256, ge=1)  # smaller weights stay: their scale and operator would take what they save
    keep_float: tuple[str, ...] = ()  # names of operators whose weights stay as they are


SETTINGS = OnnxInt8WeightsSettings


def apply(model: WorkingModel, settings: OnnxInt8WeightsSettings, context: PassContext) -> PassOutput:
    """Pack the weights of Conv, ConvTranspose, Gemm, MatMul and of tables that Gather reads, per output channel.

    Raises:
        PassError: the graph is quantized already, its opset is older than 13, or nothing changed.
    """
    graph = load_float(model, _NAME)
    check_names(graph, settings.keep_float, _NAME)
    before = weighted_operators(graph)
    packed = pack_weights(graph, settings.min_weights, settings.keep_float)
    if not packed:
        raise PassError(
            f"{_NAME} changed nothing: none of {len(before)} operators with weights has constant float32 ones of "
            f"{settings.min_weights} values or more (min_weights) that nothing else reads"
        )
    effect, figures = _effect(before, weighted_operators(graph))
    path = save_onnx(graph, context.folder / "weights8.onnx")
    return PassOutput(WorkingModel(path, Form.ONNX), PassRecord(_NAME, effect, ("onnx",), figures=figures))


def _effect(
    before: Sequence[WeightedOperator], left: Sequence[WeightedOperator]
) -> tuple[str, dict[str, float | int | str]]:
    """How many weights of how many are packed, for people and as figures; ``left`` are the operators still in float."""
    total = sum(item.params for item in before)
    changed = total - sum(item.params for item in left)
    operators = len(before) - len(left)
    text = f"{changed} of {total} weights in {operators} of {len(before)} operators are int8, unpacked at load"
    figures: dict[str, float | int | str] = {
        "weights_int8": changed,
        "weights": total,
        "operators_int8": operators,
        "operators": len(before),
    }
    return text, figures
