"""ONNX Runtime: iobinding with outputs preallocated, sequential execution, profiling off.

A model of 8-bit weights that computes in floats (DequantizeLinear of constants, no QuantizeLinear) has them unpacked
once, at load, and then runs at the speed of float. A plain ONNX Runtime runs such a file correctly, but unpacks at each
run; outside of Muster say ``options.add_session_config_entry("session.disable_quant_qdq", "1")``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muster_bench.errors import ModelLoadError, NotExecutableError
from muster_bench.files.packed_weights import are_weights_packed
from muster_bench.runtimes.port import Array, Feeds, Quantization, numpy_dtype
from muster_protos.errors import InvalidInputError, MissingExtraError
from muster_protos.model import TensorSpec

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
_LOG_ERRORS_ONLY = 3
# Keeps QuantizeLinear and DequantizeLinear from being fused into integer kernels, and lets constants be folded through
# them (onnxruntime_session_options_config_keys.h). Static int8 models live by that fusion: never for them.
_FOLD_WEIGHTS = "session.disable_quant_qdq"
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : ")
_SOURCE_PLACE = re.compile(r"/\S+\.(?:cc|h|hpp):\d+ [^()]*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*(?:const )?")
_NOT_IMPLEMENTED = (
    "NOT_IMPLEMENTED",
    "Unsupported model IR version",
    "is under development and support for this is limited",
)


def import_onnxruntime() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("ONNX Runtime is not installed: pip install 'muster-edge[ort]'") from error
    return onnxruntime


class OnnxSession:
    """See ``port.Session``."""

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        ort = import_onnxruntime()
        if provider not in PROVIDERS or PROVIDERS[provider] not in ort.get_available_providers():
            available = ", ".join(name for name, long in PROVIDERS.items() if long in ort.get_available_providers())
            raise InvalidInputError(f"expected a provider of onnxruntime here ({available}), found {provider!r}")
        self.runtime_version: str = ort.__version__
        self.quantization: Mapping[str, Quantization] = {}  # ONNX keeps it inside the graph
        try:
            # From bytes: without a folder of its own a model cannot reach for external files.
            content = path.read_bytes()
            options = _options(ort, threads)
            if are_weights_packed(content):
                options.add_session_config_entry(_FOLD_WEIGHTS, "1")
            self._ort = ort.InferenceSession(content, options, providers=[PROVIDERS[provider]])
        except Exception as error:
            raise _translated(error) from error
        if PROVIDERS[provider] not in self._ort.get_providers():
            raise ModelLoadError(f"onnxruntime could not start its provider {provider}, and another would not be it")
        self.inputs = tuple(_spec(item) for item in self._ort.get_inputs())
        self.outputs = tuple(_spec(item) for item in self._ort.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]
        self._has_fixed_outputs = _follow_from_inputs(self.inputs, self.outputs)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """See ``port.Session``."""
        try:
            values = self._ort.run(self._output_names, dict(feeds))
        except Exception as error:
            raise _translated(error) from error
        return dict(zip(self._output_names, (np.asarray(value) for value in values), strict=True))

    def bind(self, feeds: Feeds, sample: Feeds | None = None) -> OnnxRun:
        """See ``port.Session``."""
        outputs = self.run(feeds) if sample is None else sample
        return OnnxRun(self._ort, feeds, outputs, self._output_names, is_fixed=self._has_fixed_outputs)

    def close(self) -> None:
        """See ``port.Session``."""
        self._ort = None


class OnnxRun:
    """See ``port.BoundRun``; inputs are read where they lie, outputs are written where they stay.

    Only outputs whose sizes depend on values, not on the inputs' shapes, are allocated by the runtime at every run.
    """

    def __init__(
        self, ort_session: Any, feeds: Feeds, sample: Feeds, output_names: Sequence[str], *, is_fixed: bool
    ) -> None:
        self._session = ort_session
        self._binding = ort_session.io_binding()
        # Contiguous copies only where needed: the runtime reads raw memory, which must stay alive and in place.
        self._inputs = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        self.outputs: Feeds = {name: np.ascontiguousarray(sample[name]) for name in output_names}
        self._is_fixed = is_fixed
        for name, array in self._inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            if is_fixed:
                self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self) -> None:
        """See ``port.BoundRun``."""
        try:
            if self._is_fixed:
                self._session.run_with_iobinding(self._binding)
            else:
                self._run_unallocated()
        except Exception as error:
            raise _translated(error) from error

    def _run_unallocated(self) -> None:
        """Bind anew each time: the binding keeps, and insists on, the sizes that the last run gave."""
        self._binding.clear_binding_outputs()
        for name in self.outputs:
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        self.outputs = dict(zip(self.outputs, self._binding.copy_outputs_to_cpu(), strict=True))


def _follow_from_inputs(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether every free output dimension bears the name of an input's, so that its size is known before the run."""
    names = {name for spec in inputs for name in spec.dim_names if name}
    return all(
        size >= 0 or name in names
        for spec in outputs
        for size, name in zip(spec.shape, spec.dim_names or ("",) * len(spec.shape), strict=True)
    )


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_profiling = False
    options.log_severity_level = _LOG_ERRORS_ONLY
    return options


def _spec(item: Any) -> TensorSpec:
    if item.type not in _DTYPES:
        raise NotExecutableError(
            f"{item.name!r} is a {item.type}; inputs and outputs must be tensors of numbers or booleans "
            "(export classifiers without ZipMap)"
        )
    dims = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in item.shape)
    names = tuple(size if isinstance(size, str) else "" for size in item.shape)
    spec = TensorSpec(item.name, _DTYPES[item.type], dims, names if any(names) else ())
    numpy_dtype(spec.dtype)
    return spec


def _translated(error: Exception) -> ModelLoadError:
    text = _SOURCE_PLACE.sub("", _CODE.sub("", " ".join(str(error).split())))
    if any(mark in f"{type(error).__name__} {text}" for mark in _NOT_IMPLEMENTED):
        return NotExecutableError(f"onnxruntime does not implement it: {text[:300]}")
    return ModelLoadError(f"onnxruntime: {text[:300]}")
