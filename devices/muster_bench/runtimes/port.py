"""The port: a loaded model that maps named arrays to named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from muster_protos.model import TensorSpec

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = (stored - zero_point) * scale, one pair for the whole tensor."""

    scale: float
    zero_point: int


class BoundRun(Protocol):
    """One query prepared in advance: its inputs and its output memory are bound."""

    @property
    def outputs(self) -> Feeds:
        """The output arrays; the next ``run`` overwrites them, or replaces the mapping when sizes change."""
        ...

    def run(self) -> None:
        """Execute the query once; allocates as little as the runtime allows."""
        ...


class Session(Protocol):
    """A loaded model. Not safe for use from two threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, dtypes and shapes as the artifact has them; -1 = free dimension."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Likewise for the outputs."""
        ...

    @property
    def quantization(self) -> Mapping[str, Quantization]:
        """Scale and zero point of the inputs and outputs that have them."""
        ...

    @property
    def runtime_version(self) -> str:
        """Version of the library that executes it."""
        ...

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Execute once; the outputs are the caller's own.

        Raises:
            ModelLoadError: the runtime fails on these feeds.
        """
        ...

    def bind(self, feeds: Feeds, sample: Feeds | None = None) -> BoundRun:
        """Prepare a query over ``feeds``, whose memory is read at every run.

        ``sample`` is the output memory to write to (of a query with inputs of the same shapes); without it the model
        is run once to learn the sizes.

        Raises:
            ModelLoadError: the runtime fails on these feeds.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def fixed_shape(shape: tuple[int, ...], free: int = 1) -> tuple[int, ...]:
    """``shape`` with ``free`` in place of every free dimension."""
    return tuple(free if size < 0 else size for size in shape)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a TensorSpec's ``dtype``."""
    return np.dtype(name)
