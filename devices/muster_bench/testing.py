"""Fakes that keep the ports' contracts, for tests here and in other rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from muster_bench.runtimes.port import Array, Feeds, Quantization
from muster_protos.model import TensorSpec


class FunctionSession:
    """A session whose model is a Python function of named arrays."""

    runtime_version = "0"

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        function: Callable[[Feeds], dict[str, Array]],
        quantization: Mapping[str, Quantization] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.quantization: Mapping[str, Quantization] = quantization or {}
        self.is_closed = False
        self._function = function

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """See ``runtimes.Session``."""
        return self._function(feeds)

    def bind(self, feeds: Feeds, sample: Feeds | None = None) -> FunctionRun:
        """See ``runtimes.Session``."""
        return FunctionRun(self._function, feeds, self.run(feeds) if sample is None else sample)

    def close(self) -> None:
        """See ``runtimes.Session``."""
        self.is_closed = True


class FunctionRun:
    """See ``runtimes.BoundRun``."""

    def __init__(self, function: Callable[[Feeds], dict[str, Array]], feeds: Feeds, outputs: Feeds) -> None:
        self._function = function
        self._feeds = feeds
        self.outputs: Feeds = outputs

    def run(self) -> None:
        """See ``runtimes.BoundRun``."""
        for name, array in self._function(self._feeds).items():
            self.outputs[name][...] = array
