import pytest
import torch
from torch import nn

from muster_compression.passes.port import PassError
from muster_compression.training.batched import check_takes_batches, takes_batches

ROWS = (torch.randn(1, 1, 2, 2),)


class _Reshaped(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape
        self.norm = nn.BatchNorm1d(4)

    def forward(self, image):
        return {"scores": self.norm(image.reshape(self.shape))}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (_Reshaped(-1, 4), True),
        (_Reshaped(1, 4), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), True),
        (nn.Flatten(0), False),
    ],
    ids=["free", "one row", "flat", "rows become one"],
)
def test_batches_are_taken_or_not_and_the_module_stays_as_it_was(module, expected):
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert takes_batches(module, ROWS) is expected
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_single_rows_only_is_one_line_that_says_what_to_write():
    with pytest.raises(PassError, match=r"^qat expected a module that takes batches, found one .*; .* x.flatten\(1\)"):
        check_takes_batches(_Reshaped(1, 4), ROWS, "qat")


class _Remembering(nn.Module):
    """Keeps a mask that its first run makes."""

    def __init__(self):
        super().__init__()
        self.last, self.mask = nn.Linear(4, 2), None

    def forward(self, image):
        rows = image.flatten(1)
        if self.mask is None:
            self.mask = torch.ones_like(rows[:1]) * 0.5
        return self.last(rows) * (self.last.weight.sum() * self.mask).sum()


def test_what_a_forward_keeps_for_itself_can_be_trained_with_afterwards():
    module = _Remembering()
    assert takes_batches(module, ROWS)
    module(*ROWS).sum().backward()
    assert module.last.weight.grad is not None
