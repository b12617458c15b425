"""What layers inside a network give, and how a narrower network's are brought to the same width."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from muster_compression.passes.port import PassError

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"
"""Path of a layer in the student, path of one in the teacher."""

_IMAGE_RANK, _TOKEN_RANK, _VECTOR_RANK = 4, 3, 2


class Taps:
    """Collects what the named layers give while the module runs."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._found: dict[str, Tensor] = {}

    @contextmanager
    def on(self, module: nn.Module) -> Iterator[None]:
        """Listen; nothing stays attached afterwards."""
        with _listening(module, sorted(set(self.names)), self._hear):
            yield

    def take(self) -> tuple[Tensor, ...]:
        """Of the last run, in the order of the names; a layer that ran twice gives its last."""
        found = tuple(self._found[name] for name in self.names)
        self._found.clear()
        return found

    def _hear(self, name: str, output: object) -> None:
        self._found[name] = _first(output)


def stage_pairs(student: nn.Module, teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Pairs:
    """The last layer of each stage of the student with the last of the same stage of the teacher.

    A stage is everything at one resolution: pixels of images, length of token sequences.

    Raises:
        PassError: the two share no resolution.
    """
    ends = [_stage_ends(module, inputs) for module in (student, teacher)]
    pairs = tuple((ends[0][place], name) for place, name in ends[1].items() if place in ends[0])
    if not pairs:
        shown = [sorted({"x".join(map(str, place)) for place in found}) or ["none"] for found in ends]
        raise PassError(
            "distill: features: auto expected stages of the same resolution, found "
            f"{', '.join(shown[0])} in the student and {', '.join(shown[1])} in the teacher; "
            "name [student layer, teacher layer] pairs or leave features out"
        )
    return pairs


def shapes_of(module: nn.Module, names: Sequence[str], inputs: tuple[Tensor, ...], who: str) -> list[torch.Size]:
    """Shapes of what the named layers give.

    Raises:
        PassError: no such layer (the nearest are named), or one that gives no tensor in the forward pass.
    """
    known = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.3)
            raise PassError(f"distill: the {who} has no layer {name!r}; near it are {', '.join(near) or 'none'}")
    taps = Taps(names)
    try:
        with taps.on(module), torch.inference_mode():
            module(*inputs)
        return [tensor.shape for tensor in taps.take()]
    except (KeyError, TypeError) as error:
        raise PassError(f"distill: layers of the {who} expected to give tensors, one does not: {error}") from error


def projections(pairs: Pairs, student: list[torch.Size], teacher: list[torch.Size], seed: int) -> nn.ModuleList:
    """One per pair: 1 x 1 convolution for images, linear layer for tokens and vectors (Romero et al., "FitNets", 2015).

    Raises:
        PassError: the two layers differ in more than their width.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.ModuleList(
            _projection(pair, own, wanted) for pair, own, wanted in zip(pairs, student, teacher, strict=True)
        )


def _projection(pair: tuple[str, str], own: torch.Size, wanted: torch.Size) -> nn.Module:
    is_image = len(own) == _IMAGE_RANK
    axis = 1 if is_image else len(own) - 1
    fits = len(own) == len(wanted) and all(
        index == axis or sizes[0] == sizes[1] for index, sizes in enumerate(zip(own, wanted, strict=True))
    )
    if not fits or len(own) not in (_IMAGE_RANK, _TOKEN_RANK, _VECTOR_RANK):
        raise PassError(
            f"distill: features {pair[0]!r} of the student and {pair[1]!r} of the teacher do not fit: expected the "
            f"same shape but for the width, found {list(own[1:])} and {list(wanted[1:])}; pair layers of the same stage"
        )
    if is_image:
        return nn.Conv2d(own[axis], wanted[axis], 1)
    return nn.Linear(own[axis], wanted[axis])


def _stage_ends(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[tuple[int, ...], str]:
    """Path of the last layer to finish at each resolution above 1, in the order of the first to do so."""
    ends: dict[tuple[int, ...], str] = {}

    def hear(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() in (_IMAGE_RANK, _TOKEN_RANK):
            place = tuple(output.shape[2:]) if output.dim() == _IMAGE_RANK else (output.shape[1],)
            if max(place) > 1:
                ends[place] = name

    names = [name for name, _ in module.named_modules() if name]
    with _listening(module, names, hear), torch.inference_mode():
        module(*inputs)
    return ends


@contextmanager
def _listening(module: nn.Module, names: Sequence[str], hear: Callable[[str, object], None]) -> Iterator[None]:
    """Tell ``hear`` what each of the named layers gives."""

    def listener(name: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
            hear(name, output)

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(listener(name)) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first(output: object) -> Tensor:
    if isinstance(output, (tuple, list)) and output:
        return _first(output[0])
    if not isinstance(output, Tensor):
        raise TypeError(f"found {type(output).__name__}")
    return output
