"""All passes by name. A pass is added here and nowhere else; its module is imported when it is used."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Any, cast

from muster_compression.passes.port import Form, PassFunction, Settings
from muster_protos.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class PassSpec:
    """Where a pass lives and what it takes."""

    name: str
    module: str
    takes: frozenset[Form]
    gives: Form
    is_lossless: bool  # outputs stay equal, so the floor need not be checked after it
    libraries: tuple[str, ...]  # distributions whose version is part of the cache key
    summary: str
    compares: bool = False  # looks at training or holdout samples; every pass over torch models may

    @property
    def sees_samples(self) -> bool:
        """Whether training and holdout samples are part of what decides its output."""
        return self.compares or Form.TORCH in self.takes

    @property
    def settings(self) -> type[Settings]:
        """The model of its settings: a class named ``...Settings`` in its module."""
        return cast("type[Settings]", self._load().SETTINGS)

    @property
    def function(self) -> PassFunction[Settings]:
        """The pass itself."""
        return cast("PassFunction[Settings]", self._load().apply)

    def _load(self) -> Any:
        return importlib.import_module(f"muster_compression.passes.{self.module}")


_ONNX, _TFLITE = frozenset((Form.ONNX,)), frozenset((Form.TFLITE,))
_TORCH = frozenset((Form.TORCH,))

PASSES = {
    spec.name: spec
    for spec in (
        PassSpec(
            "train",
            "train",
            _TORCH,
            Form.TORCH,
            False,
            ("torch",),
            "all weights trained on the task's own loss: a fine-tuning, or the control of another pass",
        ),
        PassSpec(
            "export-onnx",
            "export_onnx",
            _TORCH,
            Form.ONNX,
            False,
            ("torch", "onnxscript", "onnx"),
            "torch module to ONNX, fixed shapes",
        ),
        PassSpec(
            "export-tflite",
            "export_tflite",
            _TORCH,
            Form.TFLITE,
            False,
            ("torch", "litert-torch"),
            "torch module to TFLite, images as NHWC",
        ),
        PassSpec(
            "onnx-prepare",
            "onnx_prepare",
            _ONNX,
            Form.ONNX,
            True,
            ("onnx", "onnxruntime"),
            "shapes inferred, constants folded, batch normalisation merged: what a quantizer needs",
        ),
        PassSpec(
            "onnx-fp16",
            "onnx_fp16",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx", "onnxruntime"),
            "weights and arithmetic in float16, inputs and outputs stay float32",
        ),
        PassSpec(
            "onnx-static-int8",
            "onnx_static_int8",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx", "onnxruntime"),
            "weights and activations in 8 bits, per channel, calibrated on samples",
        ),
        PassSpec(
            "onnx-dynamic-int8",
            "onnx_dynamic_int8",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx", "onnxruntime"),
            "weights of matrix products in 8 bits, no samples needed: for transformers, refused for CNNs",
        ),
        PassSpec(
            "onnx-int8-weights",
            "onnx_int8_weights",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx",),
            "weights in 8 bits, unpacked at load: a quarter of the size at the same speed, no samples needed",
        ),
        PassSpec(
            "onnx-int4-weights",
            "onnx_int4_weights",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx", "onnxruntime"),
            "weights of matrix products in 4 bits, in blocks, no samples needed: for transformers",
        ),
        PassSpec(
            "onnx-mixed-int8",
            "onnx_mixed_int8",
            _ONNX,
            Form.ONNX,
            False,
            ("onnx", "onnxruntime"),
            "static int8 with the most sensitive layers in float, as many as bring something",
            compares=True,
        ),
        PassSpec(
            "tflite-static-int8",
            "tflite_static_int8",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "weights and activations in 8 bits, per channel, calibrated on samples by true minimum and maximum",
        ),
        PassSpec(
            "tflite-mixed-int8",
            "tflite_mixed_int8",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "static int8 with the most sensitive layers in float, as many as bring something",
            compares=True,
        ),
        PassSpec(
            "tflite-dynamic-int8",
            "tflite_dynamic_int8",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "weights in 8 bits without samples; products round activations while they run",
        ),
        PassSpec(
            "tflite-int8-weights",
            "tflite_int8_weights",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "weights in 8 bits, unpacked at load: a quarter of the size at the same speed, no samples needed",
        ),
        PassSpec(
            "tflite-int4-weights",
            "tflite_int4_weights",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "weights of matrix products in 4 bits, no samples needed: for transformers",
        ),
        PassSpec(
            "tflite-fp16",
            "tflite_fp16",
            _TFLITE,
            Form.TFLITE,
            False,
            ("ai-edge-quantizer", "ai-edge-litert"),
            "weights in float16, unpacked at load: half the size at the same speed",
        ),
        PassSpec(
            "prune-structured",
            "prune_structured",
            _TORCH,
            Form.TORCH,
            False,
            ("torch", "torch-pruning"),
            "channels, filters and attention heads taken out by sensitivity, fine-tuned: faster everywhere",
        ),
        PassSpec(
            "prune-magnitude",
            "prune_magnitude",
            _TORCH,
            Form.TORCH,
            False,
            ("torch",),
            "small weights become zero step by step, trained with the zeros held: smaller in transit, no faster",
        ),
        PassSpec(
            "low-rank",
            "low_rank",
            _TORCH,
            Form.TORCH,
            False,
            ("torch",),
            "layers as products of smaller ones: SVD and Tucker-2, ranks by sensitivity, fine-tuned",
        ),
        PassSpec(
            "distill",
            "distill",
            _TORCH,
            Form.TORCH,
            False,
            ("torch", "torch-pruning"),
            "a smaller network learns from a larger one's answers and features, told with its control",
        ),
        PassSpec(
            "qat",
            "qat",
            _TORCH,
            Form.TORCH,
            False,
            ("torch",),
            "training with the rounding of int8, so that post-training int8 of the result loses next to nothing",
        ),
    )
}


def find_pass(name: str) -> PassSpec:
    """The pass ``name``.

    Raises:
        InvalidInputError: there is none; the nearest name is suggested.
    """
    if name in PASSES:
        return PASSES[name]
    near = difflib.get_close_matches(name, PASSES, 1, 0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(PASSES))}"
    raise InvalidInputError(f"no pass {name!r}; {hint}")
