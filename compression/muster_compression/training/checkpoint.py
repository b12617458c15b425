"""What a training leaves behind after each epoch, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from muster_compression.artifact import write_bytes
from muster_compression.training.settings import FitSettings

_log = logging.getLogger(__name__)
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """The parts of a running training that change."""

    module: nn.Module
    extra: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    epochs_done: int = 0
    losses: tuple[float, ...] = ()  # mean of each epoch
    first_loss: float | None = None
    wall_s: float = 0.0


def fingerprint(trained: Trained, settings: FitSettings, seed: int, count: int) -> str:
    """sha256 of everything that a checkpoint must have begun from: settings, seed, samples, first weights."""
    plan = {"version": _VERSION, "settings": settings.model_dump(mode="json"), "seed": seed, "count": count}
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode())
    for name, tensor in trained.module.state_dict().items():
        digest.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            digest.update(_bytes_of(tensor))
    for tensor in trained.extra:
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def save(path: Path, key: str, trained: Trained, progress: Progress) -> None:
    """Write all or nothing."""
    state = {
        "key": key,
        "module": trained.module.state_dict(),
        "extra": [parameter.detach() for parameter in trained.extra],
        "optimizer": trained.optimizer.state_dict(),
        "epochs_done": progress.epochs_done,
        "losses": list(progress.losses),
        "first_loss": progress.first_loss,
        "wall_s": progress.wall_s,
    }
    buffer = io.BytesIO()  # a full disk is then an OSError, which names itself
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def restore(path: Path, key: str, trained: Trained) -> Progress | None:
    """Bring ``trained`` to where the checkpoint was; None when there is none that fits, or it is damaged."""
    state = _read(path)
    if state is None or state.get("key") != key:
        return None
    trained.module.load_state_dict(state["module"])
    with torch.no_grad():
        for parameter, saved in zip(trained.extra, state["extra"], strict=True):
            parameter.copy_(saved)
    trained.optimizer.load_state_dict(state["optimizer"])
    return Progress(state["epochs_done"], tuple(state["losses"]), state["first_loss"], state["wall_s"])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        _log.warning("a damaged checkpoint is left aside: %s", error)
        return None
    return state if isinstance(state, dict) else None


def _bytes_of(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().contiguous().reshape(-1)
    return str((tensor.dtype, tuple(tensor.shape))).encode() + plain.view(torch.uint8).numpy().tobytes()
