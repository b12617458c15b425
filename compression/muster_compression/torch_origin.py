"""The torch form of a model's baseline, from the source that it was imported from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from muster_compression.applying import Surroundings, apply_pass
from muster_compression.artifact import ref_of
from muster_compression.dataset.load import load_data
from muster_compression.dataset.overlap import apart_splits
from muster_compression.dataset.splits import DataSet, Split
from muster_compression.evaluation import evaluation_samples
from muster_compression.module_identity import module_identity
from muster_compression.orders import Parent
from muster_compression.part_of import OnProgress
from muster_compression.pass_cache import PassCache, SampleHashes, split_sha256
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.recipe import Step
from muster_compression.sources.kind import SourceKind, kind_of, split_torch
from muster_compression.sources.torch_module import make_module
from muster_compression.torch_model import load_for_export, save_module
from muster_compression.training.score import accuracy_of
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature


@dataclass(frozen=True, slots=True)
class _Alike:
    """How near the module must come to the baseline that was exported from it."""

    agreement: float
    error_of_range: float
    ties: int  # samples that may differ all the same, however few there are


_FIXED = _Alike(agreement=0.999, error_of_range=0.01, ties=1)
"""A fixed graph: only float arithmetic differs, torch's from the exported file's."""

_MADE_ANEW = _Alike(agreement=0.99, error_of_range=0.05, ties=0)
"""A function that is called again may train, here or by ``--train-epochs``. Another number of threads than the import's
sums floats in another order, which training enlarges: the same network, but not to the last digits."""


def torch_baseline(
    parent: Parent, cache: PassCache, threads: int, folder: Path, on_progress: OnProgress
) -> WorkingModel:
    """The module that the baseline was exported from, trained again (from the cache) where the import trained it.

    Raises:
        PassError: it cannot be kept as a file, or cannot be trained.
        InvalidInputError: the source fails, or gives another model than the imported one.
    """
    source, manifest = parent.torch_source, parent.manifest
    if kind_of(source) is SourceKind.ARCHIVE:
        path = folder / "baseline.pt2"
        shutil.copyfile(source, path)
        model = WorkingModel(path, Form.TORCH, ref_of(path).sha256)
    else:
        on_progress(0.0, f"calling {Path(source).name}, which may train")
        named = split_torch(source)
        assert named is not None
        model = untrained(*named, manifest.seed, parent.train_epochs > 0, folder)
        if parent.train_epochs:
            samples, _ = evaluation_samples(parent)
            data = load_data(parent.data)
            around, _ = import_surroundings(
                data, samples, manifest.signature, manifest.seed, threads, cache, parent.is_ranking
            )
            model = trained(model, parent.train_epochs, around, folder, on_progress)
    _check_same(parent, model)
    return model


def import_surroundings(
    data: DataSet,
    judging: Split,
    signature: Signature,
    seed: int,
    threads: int,
    cache: PassCache,
    is_ranking: bool = False,
) -> tuple[Surroundings, list[str]]:
    """What the import trains with, and notes; the same again gives the same weights, out of the cache.

    ``is_ranking``: see ``Parent``.

    Raises:
        InvalidInputError: samples do not fit, or those of ``judging`` (in canonical tensors) train or are held out.
    """
    training, holdout, notes = apart_splits(data, judging, signature, seed, is_ranking)
    hashes = SampleHashes("", split_sha256(training), split_sha256(holdout))
    return Surroundings(signature, {}, training, holdout, hashes, seed, threads, cache), notes


def untrained(path: Path, function: str, seed: int, is_untrained: bool, folder: Path) -> WorkingModel:
    """The torch form of what the function returns, as it is.

    Raises:
        PassError: it cannot be kept as a file.
        InvalidInputError: the source fails.
    """
    module, _ = make_module(path, function, seed, is_untrained)
    identity = module_identity(path, module)
    model = save_module(module, folder / "baseline.torch")
    return WorkingModel(model.path, model.form, identity)


def trained(
    model: WorkingModel, epochs: int, around: Surroundings, folder: Path, on_progress: OnProgress
) -> WorkingModel:
    """``model`` after ``epochs`` of the pass ``train``.

    Raises:
        PassError: there is nothing to train on, or the training diverges.
    """
    step = Step.model_validate({"pass": "train", "fit": {"epochs": epochs}})
    made = folder / "trained"
    made.mkdir()
    return apply_pass(around, step, model, made, {"baseline": model}, on_progress).output.model


def _check_same(parent: Parent, model: WorkingModel) -> None:
    """The source must still give the model that was imported: everything else would be judged against a stranger.

    Raises:
        InvalidInputError: it does not; with the figures.
    """
    name = Path(parent.torch_source).name
    signature = parent.manifest.signature
    samples, references = evaluation_samples(parent)
    way_out = f"import {name} again as a new model"
    try:
        found = accuracy_of(load_for_export(model), samples, signature, references)
    except (RuntimeError, ValueError, TypeError, AssertionError, PassError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{name}: cannot take the imported model's inputs ({reason}); {way_out}") from error
    values = next(iter(references.values()))
    size = float(values.max() - values.min())
    apart = found.max_abs_error or 0.0
    alike = _FIXED if split_torch(parent.torch_source) is None else _MADE_ANEW
    agreement = found.agreement or 0.0
    is_other = agreement < alike.agreement and round((1 - agreement) * found.n) > alike.ties
    if is_other or apart > alike.error_of_range * size:
        raise InvalidInputError(
            f"{name}: expected the module that was imported, found one that agrees with it on {found.agreement:.1%} of "
            f"{found.n} samples (largest difference {apart:.3g}); {way_out}"
        )
