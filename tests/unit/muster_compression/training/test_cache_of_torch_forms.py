from dataclasses import replace

import numpy as np
import pytest

from muster_compression.applying import Surroundings, apply_pass
from muster_compression.dataset.splits import DataSet, Split
from muster_compression.dataset.training import training_splits
from muster_compression.gate import GateRules, gate
from muster_compression.pass_cache import PassCache, SampleHashes, split_sha256
from muster_compression.passes.port import PassError
from muster_compression.recipe import Step
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.divergence import DivergedError
from muster_protos.errors import InvalidInputError
from muster_protos.model import Accuracy

STEP = Step.model_validate({"pass": "train", "fit": {"epochs": 2, "learning_rate": 1e-2}})


@pytest.fixture
def around(signature, samples, tmp_path):
    hashes = SampleHashes("", split_sha256(samples), "")
    return Surroundings(signature, {}, samples, None, hashes, 3, 1, PassCache(tmp_path / "cache"))


@pytest.fixture
def model(net, tmp_path):
    return replace(save_module(net, tmp_path / "net.torch"), identity="code and weights")


@pytest.fixture
def run(around, tmp_path):
    made = []

    def run(model, around=around, step=STEP, branches=None):
        folder = tmp_path / f"out-{len(made)}"
        folder.mkdir()
        made.append(apply_pass(around, step, model, folder, branches or {}, lambda ratio, note: None))
        return made[-1]

    return run


def test_a_repeated_pass_comes_from_the_cache_with_its_record_and_time(run, model):
    first, again = run(model), run(model)
    assert (first.is_cached, again.is_cached) == (False, True)
    assert again.wall_s == first.wall_s > 0
    assert again.output.record == first.output.record
    assert again.output.model.identity == first.output.model.identity != ""
    assert again.output.model.path.read_bytes() == first.output.model.path.read_bytes()


@pytest.mark.parametrize(
    "change",
    ["identity", "seed", "threads", "training", "settings", "baseline"],
)
def test_whatever_decides_the_weights_misses_the_cache(run, around, model, samples, change):
    run(model, branches={"baseline": model})
    branches, step = {"baseline": model}, STEP
    match change:
        case "identity":
            model = replace(model, identity="the same weights in other code")
        case "seed" | "threads":
            around = replace(around, **{change: 2})
        case "training":
            around = replace(around, hashes=SampleHashes("", split_sha256(samples.take(np.arange(100))), ""))
        case "settings":
            step = Step.model_validate({"pass": "train", "fit": {"epochs": 2, "learning_rate": 2e-2}})
        case _:
            branches = {"baseline": replace(model, identity="another")}
    assert not run(model, around, step, branches).is_cached


def test_a_branch_that_the_settings_do_not_name_does_not_matter(run, model):
    run(model, branches={"other": model})
    assert run(model, branches={"other": replace(model, identity="another")}).is_cached


def test_chains_are_known_by_what_made_them(run, model):
    first = run(model).output.model
    second = run(first, step=Step.model_validate({"pass": "train", "fit": {"epochs": 1}}))
    other = replace(first, identity="made otherwise")
    assert not run(other, step=Step.model_validate({"pass": "train", "fit": {"epochs": 1}})).is_cached
    assert second.output.model.identity != first.identity


def test_checkpoints_are_gone_when_the_pass_is_stored(run, model, tmp_path, monkeypatch):
    from muster_compression.training import checkpoint

    seen = []
    real = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, *rest: (real(path, *rest), seen.append(path))[0])
    run(model)
    assert len(seen) == 2
    assert all(path.is_relative_to(tmp_path / "cache" / "checkpoints") for path in seen)
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []


def test_a_training_that_diverged_leaves_nothing_to_come_back_to(run, model, tmp_path):
    fit = {"epochs": 9, "learning_rate": 10, "optimizer": "sgd", "schedule": "constant"}
    with pytest.raises(DivergedError):
        run(model, step=Step.model_validate({"pass": "train", "fit": fit}))
    assert not any((tmp_path / "cache").rglob("*.pt"))
    assert not any((tmp_path / "cache").rglob("output"))


def test_without_training_samples_nothing_trains(run, around, model):
    with pytest.raises(PassError, match="train trains: expected labelled training samples, found none; add x_train"):
        run(model, replace(around, training=None))


@pytest.fixture
def rules(net, signature, samples, tmp_path):
    from muster_compression.training.score import accuracy_of, outputs_of

    path = tmp_path / "evaluation.npz"
    references = outputs_of(net, samples)[0].numpy()
    np.savez(path, x_image=samples.inputs["image"], y=samples.labels, ref_scores=references)
    return GateRules(signature, path, None, accuracy_of(net, samples, signature), None, 1)


def test_the_gate_judges_a_torch_form_as_devices_would(rules, model):
    found = gate(rules, model, lambda ratio, note: None)
    assert found.accuracy.agreement == 1.0
    assert found.accuracy.value == rules.baseline_accuracy.value
    assert (found.dropped_reason, found.binding) == ("", None)


def test_the_gate_enforces_the_floor_on_torch_forms(rules, model):
    from muster_compression.floor import parse_floor

    strict = replace(rules, floor=parse_floor("0.99"), baseline_accuracy=Accuracy(n=320, metric="accuracy", value=1.0))
    assert "under the floor of 99.00% (0.99)" in gate(strict, model, lambda ratio, note: None).dropped_reason


def test_the_gate_refuses_what_is_not_finite_or_has_another_shape(rules, model, tmp_path):
    module = load_module(model)
    module.body[6].bias.data[0] = float("nan")
    with pytest.raises(PassError, match="expected finite outputs, found NaN or infinity in 'scores'"):
        gate(rules, save_module(module, tmp_path / "nan.torch"), lambda ratio, note: None)
    import torch

    module.body[6] = torch.nn.Linear(128, 9)
    with pytest.raises(PassError, match=r"expected .scores. of shape \[1, 10\], found \[1, 9\]"):
        gate(rules, save_module(module, tmp_path / "nine.torch"), lambda ratio, note: None)


def split(count, start=0, labels=10):
    return Split({"image": np.zeros((count, 1, 8, 8), np.float32)}, (np.arange(count) + start) % labels)


def test_a_holdout_is_the_validation_set_where_a_test_set_judges(signature):
    data = DataSet("d", split(50), split(20), split(30))
    train, holdout = training_splits(data, signature, 0)
    assert (len(train), len(holdout), len(data.judging())) == (50, 20, 30)


def test_else_a_seeded_tenth_of_the_training_samples(signature):
    data = DataSet(
        "d", Split({"image": np.arange(64 * 100, dtype=np.float32).reshape(100, 1, 8, 8)}, np.arange(100) % 10)
    )
    train, holdout = training_splits(data, signature, 4)
    again = training_splits(data, signature, 4)[1]
    other = training_splits(data, signature, 5)[1]
    assert (len(train), len(holdout)) == (90, 10)
    assert np.array_equal(holdout.inputs["image"], again.inputs["image"])
    assert not np.array_equal(holdout.inputs["image"], other.inputs["image"])
    both = np.concatenate([train.inputs["image"], holdout.inputs["image"]])
    assert len(np.unique(both[:, 0, 0, 0])) == 100


def test_the_fewest_samples_are_five_and_one_of_them_is_held_out(signature):
    with pytest.raises(InvalidInputError, match="d: expected at least 5 labelled training samples, found 4; add more"):
        training_splits(DataSet("d", split(4)), signature, 0)
    train, holdout = training_splits(DataSet("d", split(5)), signature, 0)
    assert (len(train), len(holdout)) == (4, 1)


@pytest.mark.parametrize(("labels", "words"), [(12, "y_train of 0 to 9 as the model has 10 classes, found 0 to 11")])
def test_labels_without_a_class_are_refused(signature, labels, words):
    with pytest.raises(InvalidInputError, match=words):
        training_splits(DataSet("d", split(50, labels=labels)), signature, 0)


def test_without_labels_there_is_nothing_to_train_on(signature):
    assert training_splits(DataSet("d", Split(split(9).inputs)), signature, 0) == (None, None)
