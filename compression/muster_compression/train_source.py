"""Train what an import's function returns, and export that instead (``--train-epochs``)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from muster_compression.applying import threads_of
from muster_compression.cache import cache_dir
from muster_compression.dataset.splits import DataSet, Split
from muster_compression.exporting import export, torch_source
from muster_compression.orders import ImportOrder
from muster_compression.part_of import OnProgress, part_of
from muster_compression.pass_cache import PassCache
from muster_compression.resumes import Resumes
from muster_compression.sources.kind import SourceKind, kind_of, split_torch
from muster_compression.torch_model import load_module
from muster_compression.torch_origin import import_surroundings, trained, untrained
from muster_protos.errors import InvalidInputError, UsageError
from muster_protos.model import Signature

_TRAINING_SHARE = 0.9


def check_trainable(order: ImportOrder, data: DataSet | None) -> None:
    """Refuse early what training cannot start from.

    Raises:
        UsageError: the source is no function.
        InvalidInputError: there are no labelled training samples.
    """
    if kind_of(order.source) is not SourceKind.TORCH:
        raise UsageError(
            f"--train-epochs trains what file.py:function returns, found {Path(order.source).name}; leave it out, or "
            "name the module's function"
        )
    if data is None or data.train is None or data.train.labels is None:
        raise InvalidInputError("--train-epochs: expected training samples, found none; add x_train and y_train")


def train_source(
    order: ImportOrder, data: DataSet, judging: Split, signature: Signature, path: Path, on_progress: OnProgress
) -> list[str]:
    """Write the trained model to ``path``, return notes; weights come from the cache when the same was trained before.

    Raises:
        PassError: the training diverges, or the module cannot be kept as a file.
        InvalidInputError: it cannot be exported, or samples that judge it (``judging``, in canonical tensors) would
            train it.
    """
    named = split_torch(order.source)
    assert named is not None
    cache = PassCache(order.cache_dir or cache_dir())
    around, notes = import_surroundings(data, judging, signature, order.seed, threads_of(order.threads), cache)
    with tempfile.TemporaryDirectory(dir=order.out_dir, prefix="training-") as folder:
        model = untrained(*named, order.seed, True, Path(folder))
        watch = Resumes(part_of(on_progress, 0.0, _TRAINING_SHARE))
        model = trained(model, order.train_epochs, around, Path(folder), watch)
        notes += [f"--train-epochs: {words}" for words in watch.told]
        source = torch_source(order.source, data.judging(), order.seed, True)
        module = load_module(model)
        module.requires_grad_(False)
        rest = part_of(on_progress, _TRAINING_SHARE, 1 - _TRAINING_SHARE)
        export(replace(source, module=module), path, "", rest)
    return notes
