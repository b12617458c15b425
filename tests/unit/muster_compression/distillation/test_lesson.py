from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from muster_compression.dataset.splits import Split
from muster_compression.distillation import teacher as teacher_module
from muster_compression.distillation.lesson import Lesson, Weights
from muster_compression.distillation.teacher import Answers, FrozenTeacher, remembered
from muster_compression.training.batches import Batch
from muster_compression.training.response import response_loss


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def hard(module: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(module(*batch.inputs), batch.labels)


def test_equal_answers_cost_nothing_and_others_cost_what_the_definition_says() -> None:
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    assert response_loss(teacher, teacher, "classification", 4.0).item() == pytest.approx(0, abs=1e-6)
    soft = torch.softmax(teacher / 3, 1)
    by_hand = 9 * (soft * (soft.log() - torch.log_softmax(student / 3, 1))).sum(1).mean()
    torch.testing.assert_close(response_loss(student, teacher, "classification", 3.0), by_hand)


def test_the_squared_temperature_keeps_gradients_at_one_scale() -> None:
    """For large T each gradient tends to (student - teacher) / width, as Hinton et al. derive for centred logits."""
    teacher = torch.randn(4, 5)
    teacher -= teacher.mean(1, keepdim=True)
    student = torch.zeros(4, 5, requires_grad=True)
    response_loss(student, teacher, "classification", 200.0).backward()
    torch.testing.assert_close(student.grad, -teacher / 5 / 4, rtol=0.05, atol=1e-3)


def test_one_score_is_two_classes_and_values_are_compared_by_squares() -> None:
    student, teacher = torch.randn(7, 1), torch.randn(7, 1)
    soft = torch.sigmoid(teacher / 2)
    entropy = functional.binary_cross_entropy(soft, soft)
    by_hand = 4 * (functional.binary_cross_entropy_with_logits(student / 2, soft) - entropy)
    torch.testing.assert_close(response_loss(student, teacher, "binary", 2.0), by_hand)
    torch.testing.assert_close(response_loss(student, teacher, "regression", 2.0), (student - teacher).square().mean())


def test_remembered_and_asked_again_a_teacher_gives_the_same_loss() -> None:
    student = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 5))
    wide = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Flatten(), nn.Linear(96, 5))
    asked = FrozenTeacher(wide, ["0"], kind="classification")
    samples = Split({"image": np.random.default_rng(0).normal(size=(9, 1, 4, 4)).astype(np.float32)}, np.arange(9) % 5)
    told = remembered(asked, samples)
    assert told is not None
    projections = nn.ModuleList([nn.Conv2d(3, 6, 1)])
    lesson = Lesson(asked, hard, "classification", Weights(0.7, 3.0, 2.0), ("0",), projections, inputs=1)
    labels = torch.from_numpy(np.arange(9) % 5)
    tensors = tuple(torch.from_numpy(values) for values in told.inputs.values())
    torch.testing.assert_close(lesson(student, Batch(tensors, labels)), lesson(student, Batch(tensors[:1], labels)))
    assert not student[0]._forward_hooks


def test_the_parts_of_the_loss_have_their_weights() -> None:
    student, wide = nn.Linear(4, 3), nn.Linear(4, 3)
    batch = Batch((torch.randn(8, 4),), torch.arange(8) % 3)
    asked = FrozenTeacher(wide, [""], kind="classification")
    project = nn.ModuleList([nn.Linear(3, 3)])

    def loss(alpha: float, features: tuple[str, ...], weight: float = 1.0) -> float:
        lesson = Lesson(asked, hard, "classification", Weights(alpha, 2.0, weight), features, project, inputs=1)
        return lesson(student, batch).item()

    labels = hard(student, batch).item()
    answers = response_loss(student(*batch.inputs), wide(*batch.inputs), "classification", 2.0).item()
    assert loss(0.0, ()) == pytest.approx(labels)
    assert loss(1.0, ()) == pytest.approx(answers)
    assert loss(0.25, ()) == pytest.approx(0.75 * labels + 0.25 * answers)
    wanted = wide(*batch.inputs)
    features = ((project[0](student(*batch.inputs)) - wanted).square().mean() / wanted.square().mean()).item()
    assert loss(0.0, ("",), 3.0) == pytest.approx(labels + 3 * features)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()])
def test_a_teacher_of_probabilities_speaks_in_logits(last: nn.Module) -> None:
    body = nn.Linear(4, 1 if isinstance(last, nn.Sigmoid) else 3)
    given = torch.randn(5, 4)
    said = FrozenTeacher(nn.Sequential(body, last), [], kind="classification").answers((given,)).scores
    plain = body(given).detach()
    if isinstance(last, nn.Softmax):
        said, plain = said - said.mean(1, keepdim=True), plain - plain.mean(1, keepdim=True)
    torch.testing.assert_close(said, plain, atol=1e-4, rtol=1e-4)
    assert not said.requires_grad


def test_logits_that_happen_to_sum_to_one_stay_as_they_are() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, values: Tensor) -> Tensor:
            return self.scale * torch.full((len(values), 2), 0.5)

    said = FrozenTeacher(Halves(), [], kind="classification").answers((torch.zeros(3, 4),)).scores
    torch.testing.assert_close(said, torch.full((3, 2), 0.5))


class Counting:
    """A teacher that counts the samples it was asked about."""

    def __init__(self) -> None:
        self.rows = 0

    def answers(self, inputs: tuple[Tensor, ...]) -> Answers:
        self.rows += len(inputs[0])
        return Answers(inputs[0] * 2, features=(inputs[0] * 3,))


def test_a_teacher_to_whom_nobody_listens_is_not_asked() -> None:
    class Silent:
        def answers(self, inputs: tuple[Tensor, ...]) -> Answers:
            raise AssertionError(f"asked about {len(inputs)} inputs")

    student = nn.Linear(4, 3)
    batch = Batch((torch.randn(5, 4),), torch.arange(5) % 3)
    lesson = Lesson(Silent(), hard, "classification", Weights(0.0, 4.0, 0.0), (), nn.ModuleList(), inputs=1)
    torch.testing.assert_close(lesson(student, batch), hard(student, batch))


def test_a_teacher_is_asked_about_each_sample_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    samples = Split({"x": np.arange(300, dtype=np.float32).reshape(150, 2)}, np.zeros(150))
    told = remembered(counting, samples)
    assert told is not None
    assert counting.rows == 150 + 1  # one more to see how large its answers are
    np.testing.assert_array_equal(told.inputs["teacher 1"], samples.inputs["x"] * 3)
    monkeypatch.setattr(teacher_module, "_MOST_REMEMBERED_BYTES", 150 * 16 - 1)
    assert remembered(counting, samples) is None


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores, self.box = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(values), self.box(values)


def test_other_outputs_than_the_first_follow_the_teacher() -> None:
    student, wide = TwoHeads(), TwoHeads()
    lesson = Lesson(
        FrozenTeacher(wide, [], kind="classification"),
        lambda module, batch: functional.cross_entropy(module(*batch.inputs)[0], batch.labels),
        "classification",
        Weights(1.0, 2.0, 1.0),
        (),
        nn.ModuleList(),
        inputs=1,
    )
    batch = Batch((torch.randn(8, 4),), torch.arange(8) % 3)
    lesson(student, batch).backward()
    wanted = 2 * (student.box(batch.inputs[0]) - wide.box(batch.inputs[0])).mean(0) / 2
    torch.testing.assert_close(student.box.bias.grad, wanted)
