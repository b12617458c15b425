"""A torch form as something that can be exported, with the model's canonical names and shapes."""

from __future__ import annotations

from muster_compression.example_inputs import example_tensors
from muster_compression.passes.port import PassContext, WorkingModel
from muster_compression.sources.torch_module import TorchSource
from muster_compression.torch_model import load_for_export


def exportable(model: WorkingModel, context: PassContext) -> TorchSource:
    """The module in eval mode, without gradients, and one sample.

    Raises:
        PassError: the torch form cannot be read.
    """
    module = load_for_export(model)
    module.requires_grad_(False)
    signature = context.signature
    return TorchSource(
        module,
        tuple(tensor.contiguous() for tensor in example_tensors(context, 1)),
        tuple(spec.name for spec in signature.inputs),
        tuple(spec.name for spec in signature.outputs),
        type(module).__name__,
    )
