"""Held-out samples that are too few to compare on are one clear line before any training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.passes import distill, low_rank, prune_magnitude, prune_structured, qat, train
from muster_compression.passes.port import PassError
from muster_compression.torch_model import save_module
from muster_compression.training import fit as fit_module

FIT = {"epochs": 1}
SENSITIVE = {"ratio": 0.3, "layers": "sensitivity"}


@pytest.fixture
def no_training(monkeypatch):
    def step(*_given: object, **_named: object) -> float:
        raise AssertionError("trained before it said so")

    monkeypatch.setattr(fit_module, "_step", step)


@pytest.mark.parametrize(
    ("module", "settings", "count", "words"),
    [
        (train, {"fit": FIT}, 0, "at least 1 of them, found 0"),
        (distill, {"student": {"ratio": 0.5}, "fit": FIT}, 0, "at least 1 of them, found 0"),
        (qat, {"fit": FIT}, 0, "at least 1 of them, found 0"),
        (low_rank, {"ratio": 0.5, "fit": FIT}, 0, "at least 1 of them, found 0"),
        (prune_magnitude, {"sparsity": 0.5, "fit": FIT}, 0, "at least 1 of them, found 0"),
        (prune_structured, {"ratio": 0.5, "fit": FIT}, 0, "at least 1 of them, found 0"),
        (prune_structured, {"ratio": 0.5}, 0, "at least 1 of them, found 0"),
        (prune_structured, SENSITIVE, 0, "with layers: sensitivity compares .* at least 8 of them, found 0"),
        (prune_structured, SENSITIVE, 7, "with layers: sensitivity compares .* at least 8 of them, found 7"),
        (prune_structured, {**SENSITIVE, "fit": FIT}, 1, "at least 8 of them, found 1"),
    ],
)
def test_too_few_held_out_samples_are_told(
    context, teacher, splits, no_training, module, settings, count, words
) -> None:
    given = context(64, holdout=splits[1].take(np.arange(count)))
    with pytest.raises(
        PassError, match=f"{words}; add more to x_train and y_train, of which a tenth is held out"
    ) as caught:
        module.apply(teacher, module.SETTINGS.model_validate(settings), given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"ratio": 0.5, "fit": FIT}, {"ratio": 0.5, "layers": "importance"}])
def test_without_any_held_out_sample_what_only_compares_is_left_out(context, teacher, settings) -> None:
    given = context(64, holdout=None)
    if "fit" in settings:
        with pytest.raises(PassError, match="neither train nor judge, found none; add x_train and y_train"):
            prune_structured.apply(teacher, prune_structured.SETTINGS.model_validate(settings), given)
    else:
        output = prune_structured.apply(teacher, prune_structured.SETTINGS.model_validate(settings), given)
        assert not any(name.startswith("accuracy") for name in output.record.figures)


def test_a_holdout_of_one_class_leaves_the_figure_out_not_the_training(context, signature, tmp_path) -> None:
    random = np.random.default_rng(0)
    samples = Split({"image": random.normal(size=(32, 1, 8, 8)).astype(np.float32)}, np.arange(32) % 2)
    score = replace(signature.outputs[0], shape=(1, 1))
    given = context(
        signature=replace(signature, outputs=(score,), task="unknown", metric="auc"),
        training=samples,
        holdout=samples.take(np.array([0, 2])),
    )
    torch.manual_seed(0)
    model = save_module(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), tmp_path / "one.torch")
    figures = train.apply(model, train.SETTINGS.model_validate({"fit": FIT}), given).record.figures
    assert figures["holdout_unknown"] == "the labels hold one class only"
    assert "holdout" not in figures
