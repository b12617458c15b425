"""One tensor between its canonical form and a variant's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muster_bench.errors import FaceError
from muster_bench.runtimes.port import Array
from muster_protos.model import TensorBinding, TensorSpec


class _TensorFace:
    """What both directions share."""

    def __init__(self, spec: TensorSpec, binding: TensorBinding) -> None:
        self.tensor_name = binding.tensor_name
        self._spec = spec
        self._binding = binding
        self._canonical_dtype = np.dtype(spec.dtype)
        self._tensor_dtype = np.dtype(binding.dtype or spec.dtype)
        self._needs_reshape = len(spec.shape) != len(binding.shape) or (
            not binding.permutation and not _is_alike(spec.shape, binding.shape)
        )
        self.is_identity = (
            not binding.permutation
            and binding.scale is None
            and self._canonical_dtype == self._tensor_dtype
            and not self._needs_reshape
        )

    def check(self, array: Array) -> None:
        """Raise FaceError unless dtype and shape are the signature's."""
        if array.dtype != self._canonical_dtype or not _is_alike(self._spec.shape, array.shape):
            wanted = [size if size >= 0 else "free" for size in self._spec.shape]
            raise FaceError(
                f"{self._spec.name!r}: expected {self._spec.dtype} of shape {wanted}, "
                f"found {array.dtype} of shape {list(array.shape)}"
            )


class InputFace(_TensorFace):
    """Canonical to the variant's own: tensor = quantize(transpose^-1(canonical))."""

    def convert(self, canonical: Array) -> Array:
        """The variant's tensor; the very same array when nothing is to do."""
        if self.is_identity:
            return canonical
        moved = self._moved(canonical)
        tensor = np.empty(moved.shape, self._tensor_dtype)
        self._fill(moved, tensor)
        return tensor

    def convert_into(self, canonical: Array, tensor: Array) -> None:
        """The same into memory that exists."""
        self._fill(self._moved(canonical), tensor)

    def _moved(self, canonical: Array) -> Array:
        if self._needs_reshape:
            canonical = canonical.reshape(_reshaped(self._binding.shape, canonical.shape))
        if self._binding.permutation:
            canonical = canonical.transpose(np.argsort(self._binding.permutation))
        return canonical

    def _fill(self, moved: Array, tensor: Array) -> None:
        if self._binding.scale is None:
            np.copyto(tensor, moved, casting="unsafe")
            return
        limits = np.iinfo(self._tensor_dtype)
        work = moved * np.float32(1.0 / self._binding.scale)
        np.rint(work, out=work)
        work += np.float32(self._binding.zero_point or 0)
        np.clip(work, limits.min, limits.max, out=work)
        np.copyto(tensor, work, casting="unsafe")


class OutputFace(_TensorFace):
    """The variant's own to canonical: canonical = transpose(dequantize(tensor))."""

    def convert(self, tensor: Array) -> Array:
        """The canonical tensor; the very same array when nothing is to do."""
        if self.is_identity:
            return tensor
        moved = self._moved(tensor)
        canonical = np.empty(moved.shape, self._canonical_dtype)
        self._fill(moved, canonical)
        return canonical

    def convert_into(self, tensor: Array, canonical: Array) -> None:
        """The same into memory that exists."""
        self._fill(self._moved(tensor), canonical)

    def _moved(self, tensor: Array) -> Array:
        if self._binding.permutation:
            tensor = tensor.transpose(self._binding.permutation)
        if self._needs_reshape:
            tensor = tensor.reshape(_reshaped(self._spec.shape, tensor.shape))
        return tensor

    def _fill(self, moved: Array, canonical: Array) -> None:
        if self._binding.scale is None:
            np.copyto(canonical, moved, casting="unsafe")
            return
        work = moved.astype(np.float32)
        work -= np.float32(self._binding.zero_point or 0)
        work *= np.float32(self._binding.scale)
        np.copyto(canonical, work, casting="unsafe")


def _is_alike(wanted: Sequence[int], found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(a == b or a < 0 or b < 0 for a, b in zip(wanted, found, strict=True))


def _reshaped(wanted: Sequence[int], found: Sequence[int]) -> tuple[int, ...]:
    """``wanted`` with its free dimensions resolved from ``found``: the first takes what is left, others are 1."""
    left = int(np.prod(found, dtype=np.int64))
    for size in wanted:
        if size > 0:
            left //= size
    resolved = []
    for size in wanted:
        resolved.append(size if size >= 0 else left)
        if size < 0:
            left = 1
    return tuple(resolved)
