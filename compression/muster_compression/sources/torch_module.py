"""Load a user's ``file.py:function`` and export its module. Runs the user's own code, so only ever in a child."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.sources.user_code import load_function, users_code
from muster_protos.errors import InvalidInputError

_REASON_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class TorchSource:
    """A module in eval mode with what an export needs to know."""

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    name: str  # file:function, for messages


def load_torch(
    path: Path, function: str, samples: Split | None, seed: int = 0, is_untrained: bool = False
) -> TorchSource:
    """Call the function, check what it returns and try it on an example.

    ``function()`` returns a module in eval mode (in any mode when it is untrained), or (module, example inputs).
    Without examples the first sample of the data gives the shapes. ``module.input_names`` and ``module.output_names``
    are used when they exist.

    Raises:
        NotFoundError: the file has no such function.
        InvalidInputError: it fails, or returns something else, or the module is in training mode.
    """
    name = f"{path.name}:{function}"
    module, examples = make_module(path, function, seed, is_untrained)
    input_names = _input_names(module)
    example_inputs = _examples(examples, samples, input_names, name)
    input_names = input_names[: len(example_inputs)]
    outputs = _try_forward(module, example_inputs, name)
    return TorchSource(
        module, tuple(_plain(tensor) for tensor in example_inputs), input_names, _output_names(module, outputs), name
    )


def make_module(path: Path, function: str, seed: int = 0, is_untrained: bool = False) -> tuple[nn.Module, Any]:
    """The module in eval mode, without gradients and in plain memory, and the examples that came with it (or None).

    Random first weights follow from ``seed``, so that the same call gives the same module in every process.

    Raises:
        NotFoundError: the file has no such function.
        InvalidInputError: it fails, or returns something else, or the module is in training mode though trained.
    """
    name = f"{path.name}:{function}"
    make = load_function(path, function)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    with users_code(name):
        made = make()
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"{name}: expected a torch.nn.Module, found {type(module).__name__}")
    if module.training and not is_untrained:
        raise InvalidInputError(
            f"{name}: expected a module in eval mode, found training mode; return module.eval(), or give "
            "--train-epochs for one that is not trained yet"
        )
    module.eval()
    module.requires_grad_(False)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = _plain(tensor.data)
    return module, examples


def load_archive(path: Path) -> TorchSource:
    """The graph that ``torch.export.save`` wrote, for the shapes that it was exported with.

    Raises:
        InvalidInputError: it is damaged, of another torch's format, or was saved without example inputs.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise InvalidInputError(f"{path.name}: expected an archive of torch.export, found {_reason(error)}") from error
    if program.example_inputs is None or program.example_inputs[1]:
        raise InvalidInputError(f"{path.name}: expected an archive with positional example inputs; export it again")
    examples = tuple(program.example_inputs[0])
    names = tuple(str(name) for name in program.graph_signature.user_inputs)[: len(examples)]
    module = graph_module(program)
    outputs = _try_forward(module, examples, path.name)
    return TorchSource(module, tuple(map(_plain, examples)), names, _output_names(module, outputs), path.name)


def graph_module(program: torch.export.ExportedProgram) -> nn.Module:
    """The graph as a module that stays as it was exported; torch's own refuses to be told that it is for inference."""
    module: nn.Module = program.module()
    for part in module.modules():
        part.training = False
    for name in ("train", "eval"):
        setattr(module, name, MethodType(_stays, module))
    return module


def _stays(module: nn.Module, mode: bool = False) -> nn.Module:
    del mode
    return module


def _input_names(module: nn.Module) -> tuple[str, ...]:
    own = getattr(module, "input_names", None)
    if isinstance(own, Sequence) and own:
        return tuple(str(name) for name in own)
    return tuple(inspect.signature(module.forward).parameters)


def _examples(given: Any, samples: Split | None, names: tuple[str, ...], source: str) -> tuple[Tensor, ...]:
    if given is not None:
        tensors = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise InvalidInputError(f"{source}: expected example inputs that are tensors")
        return tensors
    if samples is None:
        raise InvalidInputError(
            f"{source}: the shapes of its inputs are unknown; give --data, or return (module, example_inputs)"
        )
    first = samples.inputs
    if ONLY_INPUT in first:
        return (_as_tensor(first[ONLY_INPUT][:1]),)
    missing = [name for name in names if name not in first]
    if missing and len(missing) == len(names):
        raise InvalidInputError(f"{source}: expected data for the inputs {list(names)}, found {sorted(first)}")
    return tuple(_as_tensor(first[name][:1]) for name in names if name in first)


def _as_tensor(values: Any) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor if tensor.dtype in (torch.int64, torch.int32, torch.bool) else tensor.to(torch.float32)


def _try_forward(module: nn.Module, examples: tuple[Tensor, ...], name: str) -> Any:
    with torch.inference_mode(), users_code(f"{name} with inputs {[list(tensor.shape) for tensor in examples]}"):
        return module(*examples)


def _plain(tensor: Tensor) -> Tensor:
    """The same values in plain row-major memory: odd strides (channels last, size-1 axes) change what is exported."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def _output_names(module: nn.Module, outputs: Any) -> tuple[str, ...]:
    own = getattr(module, "output_names", None)
    if isinstance(own, Sequence) and own:
        return tuple(str(name) for name in own)
    if isinstance(outputs, Mapping):
        return tuple(str(name) for name in outputs)
    if isinstance(outputs, (tuple, list)) and len(outputs) > 1:
        return tuple(f"output_{index}" for index in range(len(outputs)))
    return ("output",)


def innermost_reason(error: BaseException) -> str:
    """The operator when one is named anywhere in the chain of causes, and the innermost reason."""
    texts = []
    current: BaseException | None = error
    while current is not None:
        texts.append(str(current))
        current = current.__cause__ or current.__context__
    operator = next((found.group() for text in texts if (found := re.search(r"(?:aten|prims)[.:]+[\w.]+", text))), "")
    innermost = _one_line(texts[-1])
    return f"operator {operator}: {innermost}" if operator else innermost


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {_one_line(str(error))}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())[:_REASON_CHARACTERS]
