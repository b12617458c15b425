from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.comparison import Comparison
from muster_compression.dataset.splits import Split
from muster_compression.passes.port import PassContext, PassError
from muster_compression.task import stand_in_metric, task_of
from muster_compression.training.augment import augmented, check_augmentable
from muster_compression.training.batches import Batch, shuffled, steps_per_epoch
from muster_compression.training.fit import fit
from muster_compression.training.losses import as_logits, task_loss
from muster_compression.training.score import accuracy_of
from muster_compression.training.settings import FitSettings, learning_rate_at
from muster_protos.model import Signature, TensorSpec

SETTINGS = FitSettings(epochs=1)


def face(width, task="", metric=""):
    return Signature(
        (TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, width)),), task=task, metric=metric
    )


def batch(labels):
    return Batch((torch.linspace(-1, 1, 4 * len(labels)).reshape(-1, 4),), torch.as_tensor(labels))


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        (face(10, "classification", "accuracy"), "classification"),
        (face(1, "unknown", "auc"), "binary"),
        (face(1, "regression", "mae"), "regression"),
        (face(3, "unknown", "mse"), "regression"),
        (face(1, "classification", "accuracy"), "binary"),
        (face(2, "classification", "auc"), "classification"),
    ],
)
def test_the_task_follows_from_the_signature(signature, kind):
    assert task_of(signature).kind == kind


@pytest.mark.parametrize(
    ("width", "labels", "kind", "metric"),
    [
        (1, np.array([0, 1, 1]), "binary", "auc"),
        (1, np.array([False, True]), "binary", "auc"),
        (1, np.array([0.0, 1.0, 1.0], np.float32), "regression", "mae"),
        (1, np.array([0.3, 7.5, 1.0], np.float32), "regression", "mae"),
        (1, np.array([0, 1, 2]), "regression", "mae"),
        (1, None, "regression", "mae"),
        (3, np.array([0, 1, 2]), "classification", "accuracy"),
        (3, np.array([0, 1, 3]), "regression", "mae"),
    ],
)
def test_with_a_metric_of_the_users_the_labels_tell_the_task_that_is_not_stated(width, labels, kind, metric):
    assert task_of(face(width, "unknown", "user:f1"), labels).kind == kind
    assert stand_in_metric(face(width, "unknown", "user:f1"), labels) == metric
    assert task_of(face(width, "regression", "user:f1"), labels).kind == "regression"
    assert task_of(face(width, "classification", "user:f1"), labels).kind == kind_of(width)
    assert stand_in_metric(face(width, "unknown", "auc"), labels) == "auc"


def kind_of(width):
    return "binary" if width == 1 else "classification"


def test_a_regressor_with_a_metric_of_the_users_learns_values_and_its_control_has_a_figure(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(128, 4)).astype(np.float32)
    samples = Split({"x": x}, (x @ np.array([3.0, -2.0, 1.0, 0.5]) + 20).astype(np.float32))
    signature = face(1, "unknown", "user:pinball:min")
    context = PassContext(tmp_path, signature, {}, 0, lambda ratio, note: None, training=samples, holdout=samples)
    module = nn.Linear(4, 1)
    fit(module, samples, FitSettings(epochs=40, learning_rate=0.5), context, name="train")
    found = accuracy_of(module, samples, signature)
    assert found.metric == "mae"
    assert found.value < 0.5
    told = Comparison(found, found)
    assert told.figures()["mae_control"] == told.figures()["mae"]
    assert told.sentence("its control").startswith("mae ")
    assert context.task.kind == "regression"


def test_a_softmax_at_the_end_is_undone():
    torch.manual_seed(0)
    logits, probabilities = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Flatten())
    probabilities[0].load_state_dict(logits.state_dict())
    loss = task_loss("classification", SETTINGS)
    given = batch([0, 2, 1])
    assert torch.allclose(loss(logits, given), loss(probabilities, given), atol=1e-5)


def test_a_sigmoid_at_the_end_is_undone():
    torch.manual_seed(0)
    logits, probabilities = nn.Linear(4, 1), nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    probabilities[0].load_state_dict(logits.state_dict())
    loss = task_loss("binary", SETTINGS)
    given = batch([0.0, 1.0, 1.0])
    assert torch.allclose(loss(logits, given), loss(probabilities, given), atol=1e-5)


def test_without_a_graph_rows_that_sum_to_one_are_probabilities():
    scores = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    assert torch.allclose(as_logits(scores).softmax(1), scores)
    assert as_logits(2 * scores) is not None
    assert torch.equal(as_logits(2 * scores), 2 * scores)


def test_regression_is_the_mean_square():
    module = nn.Identity()
    given = Batch((torch.tensor([[1.0], [3.0]]),), torch.tensor([0.0, 1.0]))
    assert float(task_loss("regression", SETTINGS)(module, given)) == pytest.approx(2.5)


def test_every_epoch_has_its_own_order_and_no_row_twice():
    everything = Batch((torch.arange(10.0)[:, None],), torch.arange(10))
    first, again, other = (
        [int(label) for part in shuffled(everything, 4, 1, epoch) for label in part.labels] for epoch in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert len(set(first)) == len(first) == 8
    assert [len(part.labels) for part in shuffled(everything, 64, 1, 0)] == [10]
    assert (steps_per_epoch(10, 4), steps_per_epoch(10, 64)) == (2, 1)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_the_rate_stays_below_its_highest_and_ends_as_named(schedule):
    settings = FitSettings(epochs=1, learning_rate=0.1, schedule=schedule)
    rates = [learning_rate_at(settings, step, 100) for step in range(101)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] == (pytest.approx(0.1) if schedule == "constant" else pytest.approx(0, abs=1e-5))
    assert rates[0] == (pytest.approx(0.004) if schedule == "one-cycle" else pytest.approx(0.1))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", ["flip", "shift", "noise", "erase"])
def test_augmentation_changes_what_it_names_and_leaves_the_original(name, layout):
    images = torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    given = images.movedim(1, -1).contiguous() if layout == "NHWC" else images
    kept = given.clone()
    (found,) = augmented((given,), (name,), layout, torch.Generator().manual_seed(2))
    (again,) = augmented((given,), (name,), layout, torch.Generator().manual_seed(2))
    assert found.shape == given.shape
    assert torch.equal(found, again)
    assert torch.equal(given, kept)
    changed = (found != given).reshape(16, -1).float().mean(1)
    assert int((changed > 0).sum()) > 2
    if name == "flip":
        axis = 2 if layout == "NHWC" else 3
        rows = changed > 0
        assert torch.equal(found[rows], given[rows].flip(axis))
    if name == "erase":
        assert float(changed.max()) <= (4 / 12) ** 2 + 1e-6


def test_augmentation_leaves_whole_numbers_and_rows_alone():
    rows, tokens = torch.rand(4, 9), torch.arange(8).reshape(4, 2)
    found = augmented((rows, tokens), ("flip", "shift", "erase"), "", torch.Generator())
    assert torch.equal(found[0], rows)
    assert torch.equal(found[1], tokens)
    assert np.array_equal(augmented((tokens,), ("noise",), "", torch.Generator())[0], tokens)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        (
            "flip",
            torch.rand(4, 9),
            r"^base: augment flip expected floating-point pictures .* found float32 \[9\] per sample",
        ),
        ("shift", torch.rand(4, 9, 3), r"augment shift expected .* found float32 \[9, 3\]"),
        ("erase", torch.zeros(4, 3, 8, 8, dtype=torch.int64), r"augment erase expected .* found int64 \[3, 8, 8\]"),
        ("noise", torch.arange(8).reshape(4, 2), r"augment noise expected a floating-point input, found int64 \[2\]"),
    ],
)
def test_an_augmentation_that_would_change_nothing_is_refused_before_training(tmp_path, name, inputs, words):
    samples = Split({"x": inputs.numpy()}, np.array([0, 1, 0, 1]))
    context = PassContext(tmp_path, face(2, "classification", "accuracy"), {}, 0, lambda ratio, note: None)
    with pytest.raises(PassError, match=words):
        fit(nn.Flatten(), samples, FitSettings(epochs=1, augment=(name,)), context, name="base")


def test_a_template_leaves_inputs_alone_that_are_no_pictures(tmp_path):
    """The templates are for rows and tokens too."""
    samples = Split({"x": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)}, np.arange(8) % 2)
    context = PassContext(tmp_path, face(2, "classification", "accuracy"), {}, 0, lambda ratio, note: None)
    weights = []
    for given in ({"augment": ("shift",), "augment_misfit": "leave"}, {}):
        torch.manual_seed(0)
        module = nn.Linear(4, 2)
        fit(module, samples, FitSettings(epochs=1, **given), context, name="base")
        weights.append(module.weight)
    assert torch.equal(*weights)
    for template in ("edge", "tiny", "transformer", "quality"):
        text = (files("muster_compression") / "recipes" / f"{template}.yaml").read_text()
        assert text.count("augment: [shift") == text.count("augment_misfit: leave") > 0


def test_noise_changes_numbers_of_any_rank_and_pictures_beside_vectors_are_enough():
    rows, images = torch.rand(4, 9), torch.rand(4, 1, 8, 8)
    check_augmentable((rows,), ("noise",), "base")
    assert not torch.equal(augmented((rows,), ("noise",), "", torch.Generator())[0], rows)
    check_augmentable((rows, images), ("flip", "noise"), "base")
    check_augmentable((rows,), (), "base")
