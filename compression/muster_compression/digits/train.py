"""Train the digits CNN once and keep its weights under the hash of everything they depend on."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from muster_compression.cache import cache_dir
from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.digits import data as digits_data
from muster_compression.digits import net as digits_net
from muster_compression.digits.data import digits
from muster_compression.digits.net import DigitsNet

_log = logging.getLogger(__name__)

OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Training:
    """Everything that decides the weights, besides the data and the code."""

    width: int
    epochs: int
    batch: int
    peak_learning_rate: float = 1e-3
    seed: int = 7
    threads: int = 2


WIDE = Training(width=144, epochs=3, batch=16)
NARROW = Training(width=48, epochs=2, batch=32)


def trained(training: Training, on_progress: OnProgress | None = None) -> DigitsNet:
    """The network in eval mode; trained now (10 to 40 s on two cores) unless the cache has its weights."""
    path = cache_dir() / "digits" / f"{_key(training)}.pt"
    model = DigitsNet(training.width)
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        _fit(model, training, on_progress or _ignore)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{time.monotonic_ns()}.partial")
        torch.save(model.state_dict(), partial)
        partial.replace(path)
    return model.eval()


def accuracy(model: DigitsNet, split: Split) -> float:
    """Share of right answers, 0..1."""
    assert split.labels is not None
    with torch.inference_mode():
        images = torch.from_numpy(split.inputs[ONLY_INPUT])
        logits = torch.cat([model(images[start : start + 64]) for start in range(0, len(images), 64)])
    return float((logits.argmax(1).numpy() == split.labels).mean())


def _fit(model: DigitsNet, training: Training, on_progress: OnProgress) -> None:
    """AdamW with one learning-rate cycle; the last incomplete batch of an epoch is left out."""
    split = digits().train
    assert split is not None
    assert split.labels is not None
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            module.reset_parameters()
    images = torch.from_numpy(split.inputs[ONLY_INPUT]).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(split.labels)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps_per_epoch = len(labels) // training.batch
    steps = training.epochs * steps_per_epoch
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.peak_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.peak_learning_rate, total_steps=steps)
    shuffle = np.random.default_rng(training.seed)
    for step in range(steps):
        if step % steps_per_epoch == 0:
            order = torch.from_numpy(shuffle.permutation(len(labels)))
        start = step % steps_per_epoch * training.batch
        batch = order[start : start + training.batch]
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        on_progress((step + 1) / steps, f"training width {training.width}: loss {float(loss.detach()):.3f}")
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _key(training: Training) -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (digits_data, digits_net))
    text = repr((sorted(asdict(training).items()), torch.__version__)).encode()
    return hashlib.sha256(code + Path(__file__).read_bytes() + text).hexdigest()[:24]


def _ignore(ratio: float, note: str) -> None:
    _log.debug("%3.0f %% %s", ratio * 100, note)
