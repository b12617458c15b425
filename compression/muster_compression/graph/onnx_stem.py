"""The first convolutions of an ONNX graph: those that read the picture itself."""

from __future__ import annotations

import onnx

from muster_compression.graph.onnx_weights import CONVOLUTIONS, PRODUCTS

FEW_CHANNELS = 8
"""A convolution that reads fewer is padded to that many by integer kernels (x86: to 4, 8 or 16 bytes)."""


def onnx_stem(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions of fewer than 8 input channels that no weighted operator comes before."""
    kernels = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    raw = {item.name for item in model.graph.input} - set(kernels)
    found = []
    for node in model.graph.node:
        if node.op_type in CONVOLUTIONS | PRODUCTS:
            kernel = kernels.get(node.input[1], ()) if len(node.input) > 1 else ()
            channels = kernel[1] * _groups(node) if len(kernel) > 1 else FEW_CHANNELS
            if node.op_type == "Conv" and node.input[0] in raw and channels < FEW_CHANNELS:
                found.append(node.name)
        elif any(name in raw for name in node.input):
            raw.update(node.output)
    return tuple(found)


def _groups(node: onnx.NodeProto) -> int:
    """Among which a convolution's input channels are parted: a kernel reads those of one."""
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
