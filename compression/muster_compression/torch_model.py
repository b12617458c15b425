"""The torch form of a model: a file of our own that holds a whole module.

Unpickling runs code, so only files that our own passes wrote are ever read here, and only in a child process. The
classes of the user's module are found because the runner has imported the user's source before.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from muster_compression.artifact import write_bytes
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.sources.kind import is_archive

_REASON_CHARACTERS = 200


def load_module(model: WorkingModel) -> nn.Module:
    """The module on the CPU, in eval mode, every floating-point parameter ready to train.

    Raises:
        PassError: the model is in another form, or its classes are not those that it was saved with.
    """
    if model.form is not Form.TORCH:
        raise PassError(f"expected a torch model, found {model.form.value}")
    if is_archive(model.path):
        raise PassError(
            "an archive of torch.export holds a fixed graph, which takes export-onnx and export-tflite only; to train "
            "or change the network, name the module itself as file.py:function"
        )
    try:
        loaded = torch.load(model.path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError, pickle.UnpicklingError) as error:
        raise PassError(f"the torch form cannot be read back: {_one_line(error)}") from error
    if not isinstance(loaded, nn.Module):
        raise PassError(f"expected a torch module, found {type(loaded).__name__}")
    _trainable(loaded)
    return loaded.eval()


def load_for_export(model: WorkingModel) -> nn.Module:
    """The module, or the graph of an archive as a module that takes the shapes that it was exported with.

    Raises:
        PassError: as ``load_module``, or the archive is damaged.
    """
    if not is_archive(model.path):
        return load_module(model)
    from muster_compression.sources.torch_module import graph_module

    try:
        return graph_module(torch.export.load(model.path))
    except Exception as error:
        raise PassError(f"the archive cannot be read: {_one_line(error)}") from error


def save_module(module: nn.Module, path: Path) -> WorkingModel:
    """Write ``module`` in eval mode; equal modules give equal bytes within one process image (same hash seed).

    Raises:
        PassError: an object inside cannot be pickled; the message says which and what to do.
        OSError: no room.
    """
    module.eval()
    module.zero_grad(set_to_none=True)
    _trainable(module)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = _plain(tensor.data)
    buffer = io.BytesIO()
    try:
        torch.save(module, buffer)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise PassError(
            f"{type(module).__name__} cannot be kept between passes: {_one_line(error)}; define its classes and "
            "functions at the top level of their file, without lambdas, hooks and open files in attributes"
        ) from error
    write_bytes(path, buffer.getvalue())
    return WorkingModel(path, Form.TORCH)


def _trainable(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())


def _plain(tensor: Tensor) -> Tensor:
    """Row-major and with a storage of its own size: views into a larger one would save all of it."""
    is_plain = tensor.stride() == torch.empty(tensor.shape, device="meta").stride()
    is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if is_plain and is_whole else torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_REASON_CHARACTERS]
