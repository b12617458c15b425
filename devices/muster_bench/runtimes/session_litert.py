"""LiteRT (ai-edge-litert) or its predecessor tflite-runtime; data moves through views of the interpreter's memory."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from muster_bench.errors import HostileArtifactError, ModelLoadError, NotExecutableError
from muster_bench.runtimes.port import Array, Feeds, Quantization, fixed_shape
from muster_bench.screen import screen_artifact
from muster_protos.errors import InvalidInputError, MissingExtraError
from muster_protos.model import Format, TensorSpec

PROVIDERS = ("cpu", "xnnpack")
_PACKAGES = (("ai_edge_litert.interpreter", "ai-edge-litert"), ("tflite_runtime.interpreter", "tflite-runtime"))
_VERIFYING = ("ai_edge_litert.interpreter",)  # tflite-runtime follows any offset of the file: a broken one is its death
_NOT_IMPLEMENTED = ("Didn't find op for builtin opcode", "Encountered unresolved custom op", "Select TensorFlow op")


def import_interpreter() -> tuple[Any, str]:
    """The interpreter module and its version, ``ai-edge-litert`` before ``tflite-runtime``.

    Raises:
        MissingExtraError: neither is installed.
    """
    for module_name, distribution in _PACKAGES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        return module, importlib.metadata.version(distribution)
    raise MissingExtraError("LiteRT is not installed: pip install 'muster-edge[litert]'")


class LiteRtSession:
    """See ``port.Session``. Provider "xnnpack" is LiteRT's default delegate, "cpu" its own kernels without delegate."""

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        module, self.runtime_version = import_interpreter()
        if provider not in PROVIDERS:
            raise InvalidInputError(f"expected a provider of litert ({', '.join(PROVIDERS)}), found {provider!r}")
        if module.__name__ not in _VERIFYING:
            _verify(path)
        resolvers = module.OpResolverType
        resolver = resolvers.AUTO if provider == "xnnpack" else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = module.Interpreter(
                model_path=str(path), num_threads=threads, experimental_op_resolver_type=resolver
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            raise _translated(error) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input_index = _indices(inputs)
        self._output_index = _indices(outputs)
        self.inputs = tuple(_spec(name, item) for name, item in zip(self._input_index, inputs, strict=True))
        self.outputs = tuple(_spec(name, item) for name, item in zip(self._output_index, outputs, strict=True))
        self.quantization: Mapping[str, Quantization] = {
            **_quantization(self._input_index, inputs),
            **_quantization(self._output_index, outputs),
        }
        self._shapes: dict[str, tuple[int, ...]] = {
            name: tuple(int(size) for size in item["shape"])
            for name, item in zip(self._input_index, inputs, strict=True)
        }

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """See ``port.Session``."""
        try:
            self.resize({name: tuple(array.shape) for name, array in feeds.items()})
            for name, array in feeds.items():
                self._interpreter.set_tensor(self._input_index[name], array)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._output_index.items()}
        except (ValueError, RuntimeError, TypeError) as error:
            raise _translated(error) from error

    def bind(self, feeds: Feeds, sample: Feeds | None = None) -> LiteRtRun:
        """See ``port.Session``."""
        sample = self.run(feeds) if sample is None else sample
        return LiteRtRun(self, self._interpreter, self._input_index, self._output_index, feeds, sample)

    def resize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Give free dimensions the sizes of the next query; nothing happens when they have them."""
        changed = {name: shape for name, shape in shapes.items() if self._shapes[name] != shape}
        if not changed:
            return
        for name, shape in changed.items():
            self._interpreter.resize_tensor_input(self._input_index[name], list(shape), strict=True)
        self._interpreter.allocate_tensors()
        self._shapes.update(changed)

    def close(self) -> None:
        """See ``port.Session``."""
        self._interpreter = None


class LiteRtRun:
    """See ``port.BoundRun``."""

    def __init__(
        self,
        session: LiteRtSession,
        interpreter: Any,
        input_index: Mapping[str, int],
        output_index: Mapping[str, int],
        feeds: Feeds,
        sample: Feeds,
    ) -> None:
        self._session = session
        self._invoke: Callable[[], None] = interpreter.invoke
        self._shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        self._fixed = all(spec.shape == fixed_shape(spec.shape) for spec in session.inputs)
        self.outputs: Feeds = dict(sample)
        self._has_fixed_outputs = all(min(spec.shape, default=0) >= 0 for spec in session.outputs)
        # Only the functions are kept: a live view of its memory would forbid the interpreter to run.
        self._in_views = [(interpreter.tensor(input_index[name]), array) for name, array in feeds.items()]
        self._out_views = [(interpreter.tensor(output_index[name]), array) for name, array in self.outputs.items()]

    def run(self) -> None:
        """See ``port.BoundRun``."""
        if not self._fixed:
            self._session.resize(self._shapes)
        for view, array in self._in_views:
            np.copyto(view(), array)
        try:
            self._invoke()
        except (ValueError, RuntimeError) as error:
            raise _translated(error) from error
        if not self._has_fixed_outputs:
            self._fit_outputs()
        for view, array in self._out_views:
            np.copyto(array, view())

    def _fit_outputs(self) -> None:
        """Free output dimensions may have other sizes than in the last run."""
        if all(view().shape == array.shape for view, array in self._out_views):
            return
        self._out_views = [(view, np.empty_like(view())) for view, _ in self._out_views]
        self.outputs = dict(zip(self.outputs, (array for _, array in self._out_views), strict=True))


def _verify(path: Path) -> None:
    try:
        screen_artifact(path, Format.TFLITE)
    except HostileArtifactError as error:
        raise ModelLoadError(f"litert: {error}") from error


def _indices(details: list[dict[str, Any]]) -> dict[str, int]:
    """Tensor index by name; names that repeat get their index appended."""
    names = [item["name"] for item in details]
    return {
        item["name"] if names.count(item["name"]) == 1 else f"{item['name']}#{item['index']}": int(item["index"])
        for item in details
    }


def _spec(name: str, item: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(item["dtype"])
    if dtype.kind not in "fiub":
        raise NotExecutableError(f"{name!r} is a tensor of {dtype}; inputs and outputs must be numbers or booleans")
    shape, signature = item["shape"], item.get("shape_signature")
    sizes = signature if signature is not None and len(signature) == len(shape) else shape
    return TensorSpec(name, dtype.name, tuple(int(size) for size in sizes))


def _quantization(index: Mapping[str, int], details: list[dict[str, Any]]) -> dict[str, Quantization]:
    found = {}
    for name, item in zip(index, details, strict=True):
        scale, zero_point = item["quantization"]
        if scale:
            found[name] = Quantization(float(scale), int(zero_point))
    return found


def _translated(error: Exception) -> ModelLoadError:
    text = " ".join(str(error).split())
    if any(mark in text for mark in _NOT_IMPLEMENTED):
        return NotExecutableError(f"litert does not implement it: {text[:300]}")
    return ModelLoadError(f"litert: {text[:300]}")
