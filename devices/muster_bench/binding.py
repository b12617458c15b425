"""Derive how a variant's tensors map to the model's signature. Needs no numpy.

canonical = transpose(dequantize(tensor)), so ``permutation`` is what ``numpy.transpose`` takes to make the canonical
tensor from the variant's. A difference of size-1 dimensions alone is bridged by a reshape in the face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from muster_bench.errors import FaceError
from muster_protos.model import Binding, Signature, TensorBinding, TensorSpec

_LAYOUT_PERMUTATIONS = ((0, 3, 1, 2), (0, 2, 3, 1), (2, 0, 1), (1, 2, 0))  # NHWC->NCHW, NCHW->NHWC, HWC->CHW, CHW->HWC


class QuantizationLike(Protocol):
    """Scale and zero point, whoever holds them."""

    @property
    def scale(self) -> float: ...
    @property
    def zero_point(self) -> int: ...


def identity_binding(signature: Signature, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Binding:
    """Tensors as they are, paired by name, else by position: for the variant that gave the model its signature.

    Raises:
        FaceError: the counts differ.
    """
    return Binding(
        tuple(_as_is(spec, tensor) for spec, tensor in _paired(signature.inputs, inputs, "inputs")),
        tuple(_as_is(spec, tensor) for spec, tensor in _paired(signature.outputs, outputs, "outputs")),
    )


def derive_binding(
    signature: Signature,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    quantization: Mapping[str, QuantizationLike] | None = None,
) -> Binding:
    """Pair tensors by name, else by position; find layout by shape and scale by the artifact's own quantization.

    ``quantization`` is keyed by tensor name (``Session.quantization``).

    Raises:
        FaceError: counts, shapes or dtypes cannot be reconciled; the message says which and how.
    """
    known = quantization or {}
    return Binding(
        tuple(_bound(spec, tensor, known) for spec, tensor in _paired(signature.inputs, inputs, "inputs")),
        tuple(_bound(spec, tensor, known) for spec, tensor in _paired(signature.outputs, outputs, "outputs")),
    )


def _paired(
    canonical: Sequence[TensorSpec], tensors: Sequence[TensorSpec], what: str
) -> list[tuple[TensorSpec, TensorSpec]]:
    if len(canonical) != len(tensors):
        raise FaceError(f"expected {len(canonical)} {what} as in the model's signature, found {len(tensors)}")
    by_name = {tensor.name: tensor for tensor in tensors}
    if all(spec.name in by_name for spec in canonical):
        return [(spec, by_name[spec.name]) for spec in canonical]
    return list(zip(canonical, tensors, strict=True))


def _as_is(spec: TensorSpec, tensor: TensorSpec) -> TensorBinding:
    return TensorBinding(spec.name, tensor.name, tensor.dtype, tensor.shape)


def _bound(spec: TensorSpec, tensor: TensorSpec, quantization: Mapping[str, QuantizationLike]) -> TensorBinding:
    permutation = _permutation(spec, tensor)
    if not (spec.dtype.startswith("float") and "int" in tensor.dtype):
        return TensorBinding(spec.name, tensor.name, tensor.dtype, tensor.shape, permutation)
    own = quantization.get(tensor.name)
    if own is None:
        raise FaceError(
            f"{spec.name!r} is {spec.dtype} in the signature and {tensor.dtype} in this file, which has no scale and "
            "zero point for it; quantize the file with them, or give it a float input and output"
        )
    return TensorBinding(
        spec.name, tensor.name, tensor.dtype, tensor.shape, permutation, float(own.scale), int(own.zero_point)
    )


def _permutation(spec: TensorSpec, tensor: TensorSpec) -> tuple[int, ...]:
    if _is_alike(spec.shape, tensor.shape):
        return ()
    for axes in _LAYOUT_PERMUTATIONS:
        if len(axes) == len(tensor.shape) and _is_alike(spec.shape, tuple(tensor.shape[axis] for axis in axes)):
            return axes
    if _without_ones(spec.shape) == _without_ones(tensor.shape):
        return ()
    raise FaceError(
        f"{spec.name!r} has shape {list(spec.shape)} in the signature and {list(tensor.shape)} in this file; "
        "only a change between NCHW and NHWC or of size-1 dimensions can be bridged"
    )


def _is_alike(canonical: Sequence[int], own: Sequence[int]) -> bool:
    return len(canonical) == len(own) and all(a == b or a < 0 or b < 0 for a, b in zip(canonical, own, strict=True))


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size not in (1, -1)]
