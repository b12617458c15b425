"""Train a module: the one loop that all passes share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from muster_compression.dataset.splits import Split
from muster_compression.passes.port import PassContext, PassError
from muster_compression.task import task_of
from muster_compression.training import checkpoint
from muster_compression.training.augment import augmented, check_augmentable
from muster_compression.training.batches import Batch, shuffled, steps_per_epoch, tensors_of
from muster_compression.training.checkpoint import Progress, Trained
from muster_compression.training.divergence import DivergedError, LossWatch
from muster_compression.training.environment import has_bfloat16, reproducible
from muster_compression.training.losses import Loss, chance_loss, task_loss
from muster_compression.training.settings import FitSettings, learning_rate_at

if TYPE_CHECKING:
    from muster_compression.part_of import OnProgress

_MOMENTUM = 0.9
_REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What a training did."""

    epochs: int
    steps: int
    losses: tuple[float, ...]  # mean of each epoch
    wall_s: float  # of all runs that it took
    resumed_at_epoch: int = 0  # epochs that a killed run had done before; 0 = from the start


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same over all steps."""

    name: str
    trained: Trained
    everything: Batch
    settings: FitSettings
    context: PassContext
    loss: Loss
    after_step: Callable[[int], object] | None
    on_progress: OnProgress
    watch: LossWatch
    began_s: float

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.everything.labels), self.settings.batch_size)


def fit(
    module: nn.Module,
    samples: Split,
    settings: FitSettings,
    context: PassContext,
    *,
    name: str,
    loss: Loss | None = None,
    extra_parameters: Iterable[nn.Parameter] = (),
    after_step: Callable[[int], object] | None = None,
    on_progress: OnProgress | None = None,
) -> FitRecord:
    """Train ``module`` in place; it comes back in eval mode.

    The same seed and the same number of threads give the same weights, killed and resumed or not: after each epoch a
    checkpoint lies in ``context.checkpoints``, and order, augmentation and dropout follow from seed and epoch.

    Args:
        name: distinguishes several fits of one pass; names its checkpoint and its progress.
        loss: of the module and one batch; None = the task's own.
        extra_parameters: trained too, though no part of the module (projections of a feature distillation).
        after_step: called with the number of steps done, after each; masks are put back on there.
        on_progress: None = the pass's own.

    Raises:
        DivergedError: the loss became infinite or NaN, or rose far above its first value.
        PassError: samples or labels do not fit, the module cannot take a batch, or ``augment`` would change nothing.
    """
    kind = task_of(context.signature, samples.labels).kind
    everything = tensors_of(samples, kind, name)
    if settings.augment_misfit == "refuse":
        check_augmentable(everything.inputs, settings.augment, name)
    extra = tuple(extra_parameters)
    trained = Trained(module, extra, _optimizer([*module.parameters(), *extra], settings, name))
    key = checkpoint.fingerprint(trained, settings, context.seed, len(samples))
    path = None if context.checkpoints is None else context.checkpoints / f"{name}.pt"
    done = (checkpoint.restore(path, key, trained) if path else None) or Progress()
    run = _Run(
        name=name,
        trained=trained,
        everything=everything,
        settings=settings,
        context=context,
        loss=loss or task_loss(kind, settings),
        after_step=after_step,
        on_progress=on_progress or context.on_progress,
        watch=LossWatch(name, chance_loss(everything.labels, kind), done.first_loss),
        began_s=time.monotonic(),
    )
    try:
        with reproducible(context.threads):
            finished = _epochs(run, done, path, key)
    finally:
        module.eval()
        module.zero_grad(set_to_none=True)
    _check_weights(module, name)
    return FitRecord(settings.epochs, settings.epochs * run.steps, finished.losses, finished.wall_s, done.epochs_done)


def _epochs(run: _Run, done: Progress, path: Path | None, key: str) -> Progress:
    progress = done
    for epoch in range(done.epochs_done, run.settings.epochs):
        mean = _epoch(run, epoch, done.epochs_done)
        progress = replace(
            progress,
            epochs_done=epoch + 1,
            losses=(*progress.losses, mean),
            first_loss=run.watch.first,
            wall_s=done.wall_s + time.monotonic() - run.began_s,
        )
        if path is not None:
            checkpoint.save(path, key, run.trained, progress)
    return progress


def _epoch(run: _Run, epoch: int, resumed_at: int) -> float:
    """One pass over the samples; the mean loss."""
    torch.manual_seed(_seed_of(run.context.seed, epoch))
    generator = torch.Generator().manual_seed(_seed_of(run.context.seed + 1, epoch))
    run.trained.module.train()
    total, steps = 0.0, run.steps
    for index, batch in enumerate(shuffled(run.everything, run.settings.batch_size, run.context.seed, epoch)):
        if run.settings.augment:
            layout = run.context.signature.layout
            batch = replace(batch, inputs=augmented(batch.inputs, run.settings.augment, layout, generator))
        done = epoch * steps + index
        _set_rate(run.trained.optimizer, learning_rate_at(run.settings, done, run.settings.epochs * steps))
        found = _step(run, batch, is_first=epoch == resumed_at and index == 0)
        run.watch.add(found, epoch + 1)
        total += found
        if run.after_step is not None:
            run.after_step(done + 1)
        _report(run, done + 1, resumed_at * steps, found)
    return total / steps


def _step(run: _Run, batch: Batch, is_first: bool) -> float:
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=run.settings.mixed_precision and has_bfloat16()):
            loss = run.loss(run.trained.module, batch)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if not is_first:
            raise
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
        raise PassError(
            f"{run.name}: the module cannot train on a batch of shape {list(batch.inputs[0].shape)}: {reason}; "
            "its forward() must leave axis 0 free, as x.flatten(1) does"
        ) from error
    run.trained.optimizer.zero_grad()
    if loss.requires_grad and bool(loss.isfinite()):
        loss.backward()  # type: ignore[no-untyped-call]
        run.trained.optimizer.step()
    return float(loss.detach())


def _optimizer(parameters: list[nn.Parameter], settings: FitSettings, name: str) -> torch.optim.Optimizer:
    """Weight decay for matrices and kernels only; a tied parameter is trained once."""
    unique = list({id(parameter): parameter for parameter in parameters if parameter.requires_grad}.values())
    if not unique:
        raise PassError(f"{name}: expected parameters to train, found none")
    groups = [
        {"params": [item for item in unique if item.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [item for item in unique if item.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=_MOMENTUM, nesterov=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _seed_of(seed: int, epoch: int) -> int:
    """One number for torch's generators; the factor is a prime, so that near seeds give no equal streams."""
    return (seed * 1_000_003 + epoch) % 2**63


def _report(run: _Run, done: int, before: int, loss: float) -> None:
    total = run.settings.epochs * run.steps
    left_s = (time.monotonic() - run.began_s) / max(1, done - before) * (total - done)
    epoch = (done - 1) // run.steps + 1
    run.on_progress(
        done / total, f"{run.name}: epoch {epoch} of {run.settings.epochs}, loss {loss:.4g}, {_time(left_s)} left"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _check_weights(module: nn.Module, name: str) -> None:
    """The last step may have ruined what its loss did not show any more."""
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point()):
        raise DivergedError(f"{name} diverged: its weights are not finite; a lower learning_rate may help")
