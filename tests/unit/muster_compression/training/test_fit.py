from dataclasses import replace

import numpy as np
import pytest
import torch

from muster_compression.dataset.splits import Split
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.divergence import DivergedError
from muster_compression.training.fit import fit
from muster_compression.training.score import outputs_of, score
from muster_compression.training.settings import FitSettings

SETTINGS = FitSettings(epochs=4, batch_size=32, learning_rate=1e-2)


class _KillError(Exception):
    """Stands for the end of the process."""


def _killed_in_epoch(epoch):
    def report(ratio, note):
        if f"epoch {epoch} of" in note and ratio > (epoch - 0.6) / SETTINGS.epochs:
            raise _KillError

    return report


def _bytes(module, path):
    return save_module(module, path).path.read_bytes()


def test_a_network_learns_and_comes_back_in_eval_mode(net, samples, signature, context):
    before = score(net, samples, signature)
    record = fit(net, samples, SETTINGS, context, name="base")
    assert score(net, samples, signature) > max(0.8, before + 0.4)
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert (record.epochs, record.steps, len(record.losses), record.resumed_at_epoch) == (4, 40, 4, 0)
    assert record.losses[-1] < record.losses[0] / 2


def test_it_trains_in_train_mode(net, samples, context):
    mean = net.body[1].running_mean.clone()
    modes = set()
    fit(net, samples, SETTINGS, context, name="base", after_step=lambda _: modes.add(net.body[5].training))
    assert modes == {True}
    assert not torch.equal(mean, net.body[1].running_mean)
    assert int(net.body[1].num_batches_tracked) == 40


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make_net, samples, make_context, tmp_path):
    found = []
    for index, seed in enumerate((3, 3, 4)):
        module = make_net()
        torch.manual_seed(index)  # what the caller did before must not matter
        fit(module, samples, SETTINGS, make_context(str(index), seed=seed), name="base")
        found.append(_bytes(module, tmp_path / "model.pt"))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_run(
    make_net, samples, make_context, tmp_path, epoch, optimizer
):
    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "augment": ("shift", "noise")})
    straight = make_net()
    whole = fit(straight, samples, settings, make_context("straight"), name="base")
    with pytest.raises(_KillError):
        fit(make_net(), samples, settings, make_context("killed", _killed_in_epoch(epoch)), name="base")
    resumed = make_net()
    notes = []
    record = fit(resumed, samples, settings, make_context("killed", lambda _, note: notes.append(note)), name="base")
    assert record.resumed_at_epoch == epoch - 1
    assert notes[0].startswith(f"base: epoch {epoch} of 4, loss ")
    assert notes[0].endswith(" left")
    assert record.losses == whole.losses
    assert _bytes(resumed, tmp_path / "a.pt") == _bytes(straight, tmp_path / "b.pt")


def test_a_finished_fit_is_not_repeated_after_a_kill_of_a_later_one(make_net, samples, make_context):
    first, again, steps = make_net(), make_net(), []
    fit(first, samples, SETTINGS, make_context(), name="one")
    record = fit(again, samples, SETTINGS, make_context(), name="one", after_step=steps.append)
    assert (steps, record.resumed_at_epoch) == ([], 4)
    assert torch.equal(first.body[6].weight, again.body[6].weight)


@pytest.mark.parametrize("change", ["settings", "seed", "weights", "damage"])
def test_a_checkpoint_of_something_else_is_left_aside(make_net, samples, make_context, tmp_path, change):
    fit(make_net(), samples, SETTINGS, make_context(), name="base")
    settings, seed, module = SETTINGS, 3, make_net()
    match change:
        case "settings":
            settings = SETTINGS.model_copy(update={"weight_decay": 0.5})
        case "seed":
            seed = 9
        case "weights":
            with torch.no_grad():
                module.body[6].bias += 1
        case _:
            path = tmp_path / "checkpoints" / "base.pt"
            path.write_bytes(path.read_bytes()[:-100])
    assert fit(module, samples, settings, make_context(seed=seed), name="base").resumed_at_epoch == 0


def test_masks_put_back_after_each_step_hold(net, samples, context):
    weight = net.body[6].weight
    mask = torch.arange(weight.numel()).reshape(weight.shape) % 2 == 0

    def put_back(step):
        with torch.no_grad():
            weight.mul_(mask)

    fit(net, samples, SETTINGS, context, name="masked", after_step=put_back)
    assert float((weight == 0).float().mean()) == 0.5


def test_a_loss_of_ones_own_with_extra_parameters_resumes_too(make_net, samples, make_context):
    def trained(checkpoints, on_progress=lambda ratio, note: None):
        projection = torch.nn.Parameter(torch.full((10, 3), 0.1))

        def loss(module, batch):
            return ((module(*batch.inputs) @ projection).mean(1) - batch.labels / 10).square().mean()

        module = make_net()
        context = make_context(checkpoints, on_progress)
        fit(module, samples, SETTINGS, context, name="own", loss=loss, extra_parameters=[projection])
        return module, projection

    straight, wanted = trained("straight")
    with pytest.raises(_KillError):
        trained("killed", _killed_in_epoch(3))
    resumed, found = trained("killed")
    assert not torch.equal(wanted, torch.full((10, 3), 0.1))
    assert torch.equal(wanted, found)
    assert torch.equal(straight.body[6].weight, resumed.body[6].weight)


@pytest.mark.parametrize(("rate", "optimizer"), [(10.0, "sgd"), (10.0, "adamw")])
def test_a_training_that_diverges_is_one_clear_error(net, samples, make_context, rate, optimizer):
    settings = FitSettings(epochs=8, learning_rate=rate, optimizer=optimizer, schedule="constant")
    with pytest.raises(DivergedError, match=r"base diverged .* lower learning_rate may help") as caught:
        fit(net, samples, settings, make_context(), name="base")
    assert "\n" not in str(caught.value)
    assert not net.training


def test_what_the_process_has_set_comes_back(net, samples, context):
    torch.manual_seed(8)
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    fit(net, samples, SETTINGS, replace(context, threads=threads + 1), name="base")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


class _OnlyOneRow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(64, 10)

    def forward(self, image):
        return self.last(image.reshape(1, 64))


@pytest.mark.parametrize(
    ("module", "change", "words"),
    [
        (_OnlyOneRow(), {}, r"cannot train on a batch of shape \[32, 1, 8, 8\]: .* leave axis 0 free"),
        (None, {"labels": None}, "add y_train"),
        (None, {"labels": np.zeros(320, np.int64)}, "at least 2 classes, found only 0"),
        (torch.nn.Flatten(), {}, "expected parameters to train, found none"),
    ],
)
def test_what_cannot_be_trained_is_one_line(net, samples, context, module, change, words):
    given = Split(samples.inputs, change.get("labels", samples.labels))
    with pytest.raises(PassError, match=words) as caught:
        fit(module or net, given, SETTINGS, context, name="base")
    assert "\n" not in str(caught.value)


def test_without_training_samples_the_message_names_what_to_add(context):
    with pytest.raises(PassError, match=r"distill trains: .* found none; add x_train and y_train to the data"):
        context.training_of("distill")


def test_a_disk_that_is_full_leaves_the_last_checkpoint(make_net, samples, make_context, monkeypatch, tmp_path):
    from muster_compression.training import checkpoint

    real, calls = checkpoint.write_bytes, []

    def full(path, payload):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        return real(path, payload)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        fit(make_net(), samples, SETTINGS, make_context(), name="base")
    assert fit(make_net(), samples, SETTINGS, make_context(), name="base").resumed_at_epoch == 2


def test_outputs_do_not_depend_on_the_batch_and_keep_the_mode(net, samples):
    net.train()
    whole, rows = outputs_of(net, samples, 320)[0], outputs_of(net, samples, 7)[0]
    assert whole.shape == (320, 10)
    assert torch.allclose(whole, rows, atol=1e-5)
    assert net.training


def test_a_module_survives_its_file(net, tmp_path):
    saved = save_module(net, tmp_path / "net.pt")
    loaded = load_module(saved)
    assert saved.form is Form.TORCH
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded(image), net(image))
    assert _bytes(loaded, tmp_path / "again.pt") == saved.path.read_bytes()


def test_a_view_into_a_large_tensor_saves_only_itself(tmp_path):
    module = torch.nn.Linear(4, 4)
    module.weight.data = torch.zeros(1000, 4)[:4]
    assert save_module(module, tmp_path / "small.pt").path.stat().st_size < 4000


def test_what_cannot_be_pickled_says_what_to_do(tmp_path):
    module = torch.nn.Linear(2, 2)
    module.hook = lambda: None
    with pytest.raises(PassError, match=r"Linear cannot be kept between passes: .*lambda.* top level of their file"):
        save_module(module, tmp_path / "model.pt")


def test_only_torch_forms_are_unpickled(tmp_path):
    with pytest.raises(PassError, match="expected a torch model, found onnx"):
        load_module(WorkingModel(tmp_path / "a.onnx", Form.ONNX))
