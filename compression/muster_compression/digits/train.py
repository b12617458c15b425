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
from torch import Tensor
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
    is_mixed: bool = False  # bfloat16 where the CPU has it: twice as fast on a wide network


WIDE = Training(width=144, epochs=3, batch=16, is_mixed=True)
NARROW = Training(width=48, epochs=2, batch=32)
TINY = Training(width=16, epochs=4, batch=32)


def trained(training: Training, on_progress: OnProgress | None = None) -> DigitsNet:
    """The network in eval mode; trained now (under a minute on two cores) unless the cache has its weights."""
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
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    batches = _batches(training)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.peak_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.peak_learning_rate, total_steps=len(batches))
    is_mixed = training.is_mixed and not _cpu_flags().isdisjoint(("avx512_bf16", "amx_bf16"))
    for step, (images, labels) in enumerate(batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            loss = functional.cross_entropy(model(images.to(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_progress((step + 1) / len(batches), f"training width {training.width}: loss {float(loss.detach()):.3f}")
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _batches(training: Training) -> list[tuple[Tensor, Tensor]]:
    """Shuffled batches of (n, 1, side, side) and labels for every epoch."""
    split = digits().train
    assert split is not None
    assert split.labels is not None
    images, labels = torch.from_numpy(split.inputs[ONLY_INPUT]), torch.from_numpy(split.labels)
    shuffle = np.random.default_rng(training.seed)
    rounds = (torch.from_numpy(shuffle.permutation(len(labels))) for _ in range(training.epochs))
    return [
        (images[batch], labels[batch])
        for order in rounds
        for batch in order[: len(order) // training.batch * training.batch].reshape(-1, training.batch)
    ]


def _cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux names; none where it names none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def _key(training: Training) -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (digits_data, digits_net))
    text = repr((sorted(asdict(training).items()), torch.__version__)).encode()
    return hashlib.sha256(code + Path(__file__).read_bytes() + text).hexdigest()[:24]


def _ignore(ratio: float, note: str) -> None:
    _log.debug("%3.0f %% %s", ratio * 100, note)
