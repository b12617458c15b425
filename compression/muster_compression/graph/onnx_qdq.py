"""Static 8-bit quantization of one ONNX model by ONNX Runtime: ranges measured once, any number of quantized copies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from muster_compression.dataset.splits import Array
from muster_compression.graph.library_logging import without_library_logging
from muster_compression.graph.onnx_bias import bias_shifts, mean_inputs, with_shifted_biases

Method = Literal["minmax", "entropy", "percentile"]
Target = Literal["x86", "arm"]


@dataclass(frozen=True, slots=True)
class QdqStyle:
    """How activations and weights become integers."""

    target: Target = "x86"  # x86: u8 activations, arm: s8
    per_channel: bool = True
    reduce_range: bool = False  # 7-bit weights: processors without VNNI overflow in 16 bits otherwise
    operators: tuple[str, ...] = ()  # kinds that are quantized; empty = all that the library knows
    bias_samples: int = 64  # that the biases are corrected on; 0 = they are not


class QdqQuantizer:
    """Ranges of a model's tensors, and copies of it with QuantizeLinear and DequantizeLinear in them."""

    def __init__(
        self, path: Path, feeds: Iterable[dict[str, Array]], scratch: Path, style: QdqStyle, method: Method = "minmax"
    ) -> None:
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        self._style = style
        self._kinds = sorted(style.operators) or _all_kinds()
        first: list[dict[str, Array]] = []
        with without_library_logging():
            self._model: onnx.ModelProto = load_model_with_shape_infer(path)
            kept = _keeping(feeds, first, style.bias_samples)
            self._ranges = _measure(path, kept, scratch, self._kinds, method)
        self._shifts: Mapping[str, NDArray[np.float32]] = {}
        if first:
            self._shifts = bias_shifts(self._model, self.quantized(), mean_inputs(self._model, first))

    @property
    def model(self) -> onnx.ModelProto:
        """The float model with shapes; not to be changed."""
        return self._model

    def is_quantizable(self, node: onnx.NodeProto) -> bool:
        """Whether the library has a quantized form of this kind of operator."""
        return node.op_type in self._kinds

    @property
    def corrected(self) -> tuple[str, ...]:
        """Names of the operators whose biases take the mean error of their weights back."""
        return tuple(self._shifts)

    def quantized(self, excluded: Iterable[str] = (), only: Iterable[str] = ()) -> onnx.ModelProto:
        """A quantized copy; operators named in ``excluded`` stay float, or all but those in ``only``."""
        from onnxruntime.quantization import QDQQuantizer, QuantType

        style, out, alone = self._style, set(excluded), set(only)
        shifts = {
            name: shift for name, shift in self._shifts.items() if name not in out and (not alone or name in alone)
        }
        with without_library_logging():
            quantizer = QDQQuantizer(
                with_shifted_biases(self._model, shifts),
                style.per_channel,
                style.reduce_range,
                QuantType.QInt8,
                QuantType.QUInt8 if style.target == "x86" else QuantType.QInt8,
                copy.deepcopy(self._ranges),  # it narrows the ranges before activation functions in place
                sorted(alone),
                sorted(out),
                self._kinds,
                {},
            )
            quantizer.quantize_model()
        made: onnx.ModelProto = quantizer.model.model
        return made


def _keeping(feeds: Iterable[dict[str, Array]], kept: list[dict[str, Array]], count: int) -> Iterator[dict[str, Array]]:
    """The samples as they come; the first ``count`` of them are also put into ``kept``."""
    for feed in feeds:
        if len(kept) < count:
            kept.append(feed)
        yield feed


def _all_kinds() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _measure(path: Path, feeds: Iterable[dict[str, Array]], scratch: Path, kinds: list[str], method: Method) -> Any:
    """The library's ranges by tensor name."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, samples: Iterator[dict[str, Array]]) -> None:
            self._samples = samples

        def get_next(self) -> dict[str, Array] | None:
            return next(self._samples, None)

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    augmented = scratch / "augmented.onnx"
    calibrator = create_calibrator(path, kinds, str(augmented), methods[method])
    calibrator.collect_data(Reader(iter(feeds)))
    ranges = calibrator.compute_data()
    augmented.unlink(missing_ok=True)
    return ranges
