from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compression.tasks import TASKS
from benchmarks.compression.teachers import trained
from muster_compression.sources.kind import split_torch
from muster_compression.sources.torch_module import make_module
from muster_compression.training.settings import FitSettings


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 96), ("val", 16), ("test", 16)):
        labels = np.arange(count) % 10
        pictures = random.normal(size=(count, 1, 28, 28)).astype(np.float32)
        pictures[np.arange(count), 0, 2 * labels + 4] += 4
        arrays |= {f"x_{part}": pictures, f"y_{part}": labels}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def test_a_teacher_is_trained_once_and_its_folder_is_a_source_of_the_product(data, tmp_path):
    task = dataclasses.replace(TASKS["mnist"], fit=FitSettings(epochs=2, batch_size=32))
    notes: list[str] = []
    first = trained(task, data, tmp_path / "teacher", task.fit, lambda _, note: notes.append(note))
    assert notes
    assert first.params == 1_199_882
    named = split_torch(first.source)
    assert named is not None
    module, _ = make_module(*named)
    assert not module.training
    assert not (tmp_path / "teacher" / "teacher.pt").exists()

    notes.clear()
    assert trained(task, data, tmp_path / "teacher", task.fit, lambda _, note: notes.append(note)) == first
    assert notes == []


def test_another_budget_is_another_teacher(data, tmp_path):
    task = TASKS["mnist"]
    one = trained(task, data, tmp_path / "teacher", FitSettings(epochs=1), lambda *_: None)
    two = trained(task, data, tmp_path / "teacher", FitSettings(epochs=2), lambda *_: None)
    assert (one.epochs, two.epochs) == (1, 2)


@pytest.mark.parametrize(
    ("name", "params"), [("spoken-digits", 11_175_370), ("cifar10", 272_474), ("mnist-vit", 138_890)]
)
def test_teachers_are_of_their_published_size(name, params):
    from benchmarks.compression import nets

    module = getattr(nets, TASKS[name].network)()
    assert sum(parameter.numel() for parameter in module.parameters()) == params
