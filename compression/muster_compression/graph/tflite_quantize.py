"""Quantize a TFLite file with ai-edge-quantizer: rules per kind of operator, ranges measured once."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from muster_compression.dataset.splits import Array
from muster_protos.errors import MissingExtraError

Scheme = Literal["static", "dynamic", "weights", "float"]

PRODUCTS = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE")
EVERYTHING = "*"

QUANTIZER_ERRORS = (ValueError, RuntimeError, KeyError, NotImplementedError, IndexError, TypeError)
"""What the library raises for a graph that it cannot take."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of the operators of some kinds; of several rules that fit, the last holds.

    static: weights and activations are integers. dynamic: activations are rounded while the model runs. weights: they
    are unpacked to floats before use. float: nothing changes.
    """

    scheme: Scheme
    bits: int = 8  # of the weights; 16 with ``weights`` = float16
    kinds: Sequence[str] = (EVERYTHING,)  # TFLite's names of operators
    operators: Sequence[str] = (".*",)  # regular expressions over the names of their output tensors


def quantize(path: Path, rules: Sequence[Rule], ranges: Mapping[str, Any] | None = None) -> bytes:
    """The quantized file's bytes; ``ranges`` (of ``measure_ranges``) only for static rules.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        QUANTIZER_ERRORS: it cannot take this graph.
    """
    quantizer = _library().quantizer
    with _silence():
        made = quantizer.Quantizer(str(path), _recipe(rules)).quantize(ranges, enable_progress_report=False)
    return bytes(made.quantized_model)


def measure_ranges(path: Path, key: str, samples: Iterable[dict[str, Array]]) -> Mapping[str, Any]:
    """Smallest and largest value of each tensor over all samples (by the signature's argument names).

    The library's own default is a moving average, which clips: 15-17 dB where the true range gives 30-38.
    """
    library = _library()
    with _silence():
        statistics = library.calibrator.Calibrator(str(path), num_threads=1, qsv_update_func=library.min_max_update)
        manager = library.recipe_manager.RecipeManager()
        manager.load_quantization_recipe(_recipe([Rule("static")]))
        statistics.calibrate({key: list(samples)}, manager)  # a generator would be used up by counting
        ranges: Mapping[str, Any] = statistics.get_model_qsvs()
    return ranges


def exactly(tensor_names: Iterable[str]) -> tuple[str, ...]:
    """Regular expressions for operators by the whole names of their output tensors (the library adds ``;``)."""
    return tuple(rf"(^|;){re.escape(name)};?$" for name in tensor_names)


@dataclass(frozen=True, slots=True)
class _Library:
    quantizer: Any
    calibrator: Any
    recipe_manager: Any
    operation_name: Any
    algorithm_name: Any
    min_max_update: Any


def _library() -> _Library:
    try:
        from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, quantizer, recipe_manager
        from ai_edge_quantizer.utils.qsv_utils import min_max_update
    except ImportError as error:
        raise MissingExtraError(
            "quantizing TFLite models needs ai-edge-quantizer: pip install 'muster-edge[compress-tflite]'"
        ) from error
    return _Library(
        quantizer,
        calibrator,
        recipe_manager,
        qtyping.TFLOperationName,
        algorithm_manager.AlgorithmName,
        min_max_update,
    )


def _recipe(rules: Sequence[Rule]) -> Any:
    """The rules in the library's own words."""
    library = _library()
    manager = library.recipe_manager.RecipeManager()
    algorithms = library.algorithm_name
    for rule in rules:
        for regex in rule.operators:
            for kind in rule.kinds:
                operation = library.operation_name(kind)
                match rule.scheme:
                    case "static":
                        manager.add_static_config(regex, operation, activation_num_bits=8, weight_num_bits=rule.bits)
                    case "dynamic":
                        manager.add_dynamic_config(regex, operation, num_bits=rule.bits)
                    case "weights" if rule.bits == 16:
                        manager.add_weight_only_config(regex, operation, 16, algorithm_key=algorithms.FLOAT_CASTING)
                    case "weights":
                        manager.add_weight_only_config(regex, operation, num_bits=rule.bits)
                    case "float":
                        manager.add_quantization_config(regex, operation, algorithm_key=algorithms.NO_QUANTIZE)
    return manager.get_quantization_recipe()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the library's reports, progress bars and warnings of memory."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
