"""What of a TFLite file can be quantized, or left in float, by itself."""

from __future__ import annotations

import math
from pathlib import Path

from muster_compression.graph.tflite_facts import TfliteOperator, tflite_operators
from muster_compression.sensitivity.layer import ALL_AROUND, Unit

_PRODUCTS = frozenset(("BATCH_MATMUL", "CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
_AROUND = frozenset(
    (
        *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "GELU", "HARD_SWISH", "LOGISTIC", "MEAN", "MUL", "RSQRT"),
        *("SOFTMAX", "SQUARED_DIFFERENCE", "SUB", "SUM", "TANH"),
    )
)


def quantizable_units(path: Path) -> list[Unit]:
    """Each convolution and product, and the other operators kind by kind, and all of those together.

    A unit is called after its kind and its place in the file; ``operators`` are the names of output tensors.
    """
    operators = tflite_operators(path)
    single = [_unit(index, item) for index, item in enumerate(operators) if item.kind in _PRODUCTS]
    around = [item for item in operators if item.kind in _AROUND]
    kinds = sorted({item.kind for item in around})
    grouped = [
        Unit(f"every {kind}", kind, 0, 0, tuple(item.output for item in around if item.kind == kind)) for kind in kinds
    ]
    if len(kinds) > 1:
        grouped.append(Unit(ALL_AROUND, "several", 0, 0, tuple(item.output for item in around)))
    return [*single, *grouped]


def _unit(index: int, item: TfliteOperator) -> Unit:
    return Unit(f"{item.kind}_{index}", item.kind, math.prod(item.weight_shape), item.macs or 0, (item.output,))
