"""How near the module must come to the baseline that was exported from it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.torch_model import save_module
from muster_compression.torch_origin import _check_same
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec

ROWS = 400


@pytest.fixture
def parent(tmp_path):
    """A linear model and its answers, changed as asked before they are the imported baseline's."""
    signature = Signature(
        (TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 3)),), task="classification"
    )
    torch.manual_seed(0)
    module = nn.Linear(4, 3).eval()
    x = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    answers = module(torch.from_numpy(x)).detach().numpy()

    def make(source, shift=0.0, others=0):
        reference = answers.copy()
        reference[0, 0] += shift * (answers.max() - answers.min())
        margins = np.sort(answers, 1)[:, -1] - np.sort(answers, 1)[:, -2]
        for row in np.argsort(margins)[:others]:  # ties: the least change makes another class the first
            order = np.argsort(answers[row])
            reference[row, order[-2]] = answers[row, order[-1]] + 1e-5
        np.savez(tmp_path / "evaluation.npz", x_x=x, ref_y=reference)
        return SimpleNamespace(
            torch_source=source,
            manifest=SimpleNamespace(signature=signature),
            evaluation_path=tmp_path / "evaluation.npz",
        )

    return make, save_module(module, tmp_path / "net.torch")


@pytest.mark.parametrize(
    ("changed", "archive_is_same", "function_is_same"),
    [
        ({}, True, True),
        ({"shift": 0.005}, True, True),
        ({"shift": 0.03}, False, True),
        ({"shift": 0.08}, False, False),
        ({"others": 1}, True, True),
        ({"others": 2}, False, True),
        ({"others": 6}, False, False),
    ],
)
def test_a_fixed_graph_must_be_the_same_and_a_function_nearly(parent, changed, archive_is_same, function_is_same):
    make, model = parent
    for source, is_same in (("net.pt2", archive_is_same), ("net.py:make", function_is_same)):
        given = make(source, **changed)
        if is_same:
            _check_same(given, model)
        else:
            with pytest.raises(
                InvalidInputError, match=r"expected the module that was imported, found one that agrees"
            ):
                _check_same(given, model)
