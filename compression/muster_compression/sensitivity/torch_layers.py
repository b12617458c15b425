"""Sensitivity of the layers of a torch module: change the weights of one layer, run, put them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import Array, Split
from muster_compression.sensitivity.closeness import closeness
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_compression.training.score import outputs_of

Change = Callable[[Tensor], Tensor]
"""Weight of one layer, outputs on axis 0 -> the changed weight, of the same shape."""

_BATCH = 64
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def torch_sensitivity(
    module: nn.Module,
    inputs: Mapping[str, Array],
    change: Change,
    layers: Sequence[str] | None = None,
    on_progress: Callable[[float, str], None] = lambda _ratio, _note: None,
) -> tuple[LayerSensitivity, ...]:
    """How far the outputs move when ``change`` is applied to one layer at a time, in the order of the model.

    ``inputs`` are positional arguments of the module in their order, rows on axis 0. ``layers`` names the modules to
    look at; None takes every linear layer and convolution. The module is left as it was found, its mode included.

    Raises:
        ValueError: a name in ``layers`` is no linear layer or convolution of the module.
    """
    found = weighted_layers(module)
    names = list(found) if layers is None else list(layers)
    for name in names:
        if name not in found:
            raise ValueError(f"expected the path of a linear layer or convolution, found {name!r}")
    with _evaluating(module):
        wanted = _outputs(module, inputs)
        measured = []
        for index, name in enumerate(names):
            on_progress(index / len(names), f"sensitivity of {name}")
            with _changed(found[name], change):
                near = closeness(wanted, _outputs(module, inputs))
            layer = found[name]
            weight = _weight(layer)
            measured.append(LayerSensitivity(name, type(layer).__name__, weight.numel(), near.sqnr_db, near.agreement))
    return tuple(measured)


def weighted_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions by path, in the order of the model; one that is used twice comes once."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, _WEIGHTED)}


def quantized(bits: int) -> Change:
    """Round to ``bits`` with one symmetric scale per output: what a quantizer of weights does."""
    largest = 2 ** (bits - 1) - 1

    def change(weight: Tensor) -> Tensor:
        peak = weight.flatten(1).abs().amax(1).clamp_min(1e-12)
        scale = peak.div(largest).reshape(-1, *[1] * (weight.dim() - 1))
        return weight.div(scale).round().clamp(-largest, largest).mul(scale)

    return change


def without_smallest_weights(ratio: float) -> Change:
    """Set the share ``ratio`` of smallest weights to zero."""

    def change(weight: Tensor) -> Tensor:
        count = int(ratio * weight.numel())
        if count == 0:
            return weight
        cut = weight.abs().flatten().kthvalue(count).values
        return torch.where(weight.abs() <= cut, torch.zeros_like(weight), weight)

    return change


def without_smallest_outputs(ratio: float) -> Change:
    """Set the share ``ratio`` of output channels of the smallest L2 norm to zero: structured pruning's first guess."""

    def change(weight: Tensor) -> Tensor:
        norms = weight.flatten(1).norm(dim=1)
        removed = norms.argsort()[: int(ratio * len(norms))]
        pruned = weight.clone()
        pruned[removed] = 0
        return pruned

    return change


@contextmanager
def _changed(layer: nn.Module, change: Change) -> Iterator[None]:
    """The layer with other weights; its own bytes come back whatever happens."""
    weight = _weight(layer)
    kept = weight.detach().clone()
    axis = 1 if isinstance(layer, _TRANSPOSED) else 0
    try:
        with torch.no_grad():
            weight.copy_(change(kept.transpose(0, axis)).transpose(0, axis))
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {name: item.training for name, item in module.named_modules()}
    module.eval()
    try:
        yield
    finally:
        for name, item in module.named_modules():
            item.training = modes[name]


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _outputs(module: nn.Module, inputs: Mapping[str, Array]) -> list[Array]:
    """Every output, in the order of an export, joined over the samples."""
    return [tensor.numpy() for tensor in outputs_of(module, Split(dict(inputs)), _BATCH)]
