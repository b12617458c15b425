"""Small changes of training inputs that keep their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from muster_compression.passes.port import PassError
from muster_compression.training.settings import Augmentation

_IMAGE_RANK = 4
_SHIFT_SHARE = 0.1
_NOISE_SHARE = 0.1
_ERASE_SHARE = 0.3


def check_augmentable(inputs: Sequence[Tensor], wanted: Sequence[Augmentation], name: str) -> None:
    """``noise`` needs a floating-point input of any rank, everything else one of pictures.

    Raises:
        PassError: there is none, so that the augmentation would change nothing; with the shapes found.
    """
    floats = [tensor for tensor in inputs if tensor.is_floating_point()]
    shown = ", ".join(f"{tensor.dtype} {list(tensor.shape[1:])}".removeprefix("torch.") for tensor in inputs)
    for item in wanted:
        if item == "noise" and not floats:
            raise PassError(
                f"{name}: augment noise expected a floating-point input, found {shown} per sample; leave it out"
            )
        if item != "noise" and not any(tensor.dim() == _IMAGE_RANK for tensor in floats):
            raise PassError(
                f"{name}: augment {item} expected floating-point pictures (channels, height, width), found {shown} per "
                "sample; leave it out, take noise, or set augment_misfit: leave"
            )


def augmented(
    inputs: tuple[Tensor, ...], wanted: Sequence[Augmentation], layout: str, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Every floating-point input changed, by ``noise`` whatever its rank, else pictures only.

    ``generator`` decides, the originals stay as they are.

    ``flip`` mirrors each image left to right with probability 1/2; ``shift`` moves it by up to 10 % of its sides and
    fills with its smallest value; ``erase`` sets a rectangle of up to 30 % of each side to its mean (DeVries and
    Taylor, "Cutout", 2017; on spectrograms close to SpecAugment); ``noise`` adds Gaussian noise of 10 % of the batch's
    deviation.
    """
    return tuple(_changed(tensor, wanted, layout, generator) for tensor in inputs)


def _changed(tensor: Tensor, wanted: Sequence[Augmentation], layout: str, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    is_image = tensor.dim() == _IMAGE_RANK
    moved = tensor.movedim(-1, 1) if is_image and layout == "NHWC" else tensor
    for name in wanted:
        match name:
            case "noise":
                noise = torch.randn(moved.shape, generator=generator)
                moved = moved + _NOISE_SHARE * moved.std() * noise
            case "flip" if is_image:
                moved = torch.where(_coins(len(moved), generator), moved.flip(-1), moved)
            case "shift" if is_image:
                moved = _shifted(moved, generator)
            case "erase" if is_image:
                moved = _erased(moved, generator)
            case _:
                pass
    return moved.movedim(1, -1).contiguous() if is_image and layout == "NHWC" else moved


def _coins(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=generator) < 0.5


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """(n, c, h, w), each image by its own distance."""
    for axis in (-2, -1):
        size = images.shape[axis]
        most = max(1, round(_SHIFT_SHARE * size))
        by = torch.randint(-most, most + 1, (len(images),), generator=generator)
        source = torch.arange(size)[None] - by[:, None]
        shape = [len(images), 1, 1, 1]
        shape[axis] = size
        index = source.clamp(0, size - 1).reshape(shape).expand(images.shape)
        outside = ((source < 0) | (source >= size)).reshape(shape)
        images = torch.where(outside, images.amin(), images.gather(images.dim() + axis, index))
    return images


def _erased(images: Tensor, generator: torch.Generator) -> Tensor:
    """(n, c, h, w), one rectangle per image."""
    inside = torch.ones(len(images), 1, 1, 1, dtype=torch.bool)
    for axis in (-2, -1):
        size = images.shape[axis]
        most = max(1, round(_ERASE_SHARE * size))
        length = torch.randint(1, most + 1, (len(images), 1), generator=generator)
        start = torch.randint(0, size, (len(images), 1), generator=generator)
        place = torch.arange(size)[None]
        shape = [len(images), 1, 1, 1]
        shape[axis] = size
        inside = inside & ((place >= start) & (place < start + length)).reshape(shape)
    return torch.where(inside, images.mean((-2, -1), keepdim=True), images)
