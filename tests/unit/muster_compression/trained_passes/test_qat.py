from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from muster_compression.fake_quant.grid import rounded_weight
from muster_compression.fake_quant.module import FakeQuantized
from muster_compression.passes import export_onnx, onnx_prepare, onnx_static_int8
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.passes.qat import QatSettings, apply
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.fit import fit
from muster_compression.training.score import score


def settings(**given: object) -> QatSettings:
    rest = {"learning_rate": 0.005, **given.pop("fit", {"epochs": 1})}  # type: ignore[dict-item]
    return QatSettings.model_validate({**given, "fit": rest})


def uneven(net: nn.Module) -> nn.Module:
    """The same function with half of the channels at a hundredth of the range: int8 has few steps left for them.

    ReLU passes a positive factor on (Nagel et al., "Data-Free Quantization", 2019, turn this around to help).
    """
    factors = torch.where(torch.arange(12) % 2 == 0, 0.01, 1.0)
    with torch.no_grad():
        for block in net.blocks:
            block[1].weight.mul_(factors)
            block[1].bias.mul_(factors)
            block[3].weight.div_(factors.reshape(1, -1, 1, 1))
    return net


class Deployed:
    """A torch form after export, preparation and static int8, as ONNX Runtime runs it."""

    def __init__(self, model: WorkingModel, context, samples) -> None:
        import onnxruntime

        for step in (export_onnx, onnx_prepare, onnx_static_int8):
            model = step.apply(model, step.SETTINGS(), context()).model
        optimized = Path(context().folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.optimized_model_filepath = str(optimized)
        session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: row[None]})[0] for row in samples.inputs["image"]]
        self.answers = np.concatenate(answers)
        self.accuracy = float((self.answers.argmax(1) == samples.labels).mean())
        self.operators = Counter(node.op_type for node in onnx.load(str(optimized)).graph.node)


@pytest.mark.slow
def test_deployed_in_int8_it_beats_its_control_with_the_same_integer_operators(
    context, trained, splits, tmp_path
) -> None:
    hard = save_module(uneven(trained("separable", 12)), tmp_path / "uneven.torch")
    chosen = settings(control=False, fit={"epochs": 4})
    output = apply(hard, chosen, context())
    control = load_module(hard)
    fit(control, splits[0], chosen.fit, context(), name="control")
    ours = Deployed(output.model, context, splits[1])
    theirs = Deployed(save_module(control, tmp_path / "control.torch"), context, splits[1])
    assert ours.accuracy > theirs.accuracy + 0.1
    assert output.record.figures["accuracy"] == pytest.approx(ours.accuracy, abs=0.03)  # the imitation tells the truth
    assert ours.operators == theirs.operators
    assert ours.operators["QLinearConv"] == 7
    assert ours.operators["QGemm"] == 1
    assert not {"Conv", "Gemm", "MatMul", "FusedConv"} & set(ours.operators)


def test_with_two_bits_of_weights_training_is_what_makes_it_work(context, teacher, splits) -> None:
    output = apply(teacher, settings(weight_bits=2, fit={"epochs": 3}), context())
    figures = output.record.figures
    assert figures["accuracy"] > 0.85
    assert figures["accuracy_control"] < 0.6
    assert figures["accuracy_post_training"] < 0.6
    module = load_module(output.model)
    assert all(len(channel.unique()) <= 3 for channel in module.coarse.first.weight)
    assert score(module, splits[1], context().signature) == pytest.approx(figures["accuracy"], abs=0.03)
    assert "2 bits of weights" in output.record.effect


def test_the_result_is_a_plain_float_module_whose_weights_lie_on_their_grid(context, teacher) -> None:
    output = apply(teacher, settings(control=False), context(200))
    module = load_module(output.model)
    assert type(module).__name__ == "Net"
    assert list(module.state_dict()) == list(load_module(teacher).state_dict())
    torch.testing.assert_close(rounded_weight(module.down[0].weight, 8), module.down[0].weight)
    assert not torch.equal(module.down[0].weight, load_module(teacher).down[0].weight)
    assert output.record.figures["products_rounded"] == 7
    assert "accuracy_control" not in output.record.figures


def test_pruned_weights_stay_out(context, trained, tmp_path) -> None:
    sparse = trained("net")
    with torch.no_grad():
        weight = sparse.coarse.first.weight
        weight[weight.abs() <= weight.abs().median()] = 0
    given = save_module(sparse, tmp_path / "sparse.torch")
    kept, lost = (apply(given, settings(control=False, keep_zeros=keep), context(200)) for keep in (True, False))
    zeros = [float((load_module(item.model).coarse.first.weight == 0).float().mean()) for item in (kept, lost)]
    assert zeros[0] >= 0.5
    assert zeros[1] < 0.4
    assert kept.record.figures["zeros"] > lost.record.figures["zeros"]


def test_a_teacher_can_help(context, trained, teacher, splits, tmp_path) -> None:
    """Labels that say nothing do no harm when the teacher says all."""
    from muster_compression.dataset.splits import Split

    wrong = Split(splits[0].inputs, np.random.default_rng(0).integers(0, 10, len(splits[0])))
    taught = apply(teacher, settings(teacher="baseline", alpha=1.0), context(training=wrong)).record.figures
    alone = apply(teacher, settings(), context(training=wrong)).record.figures
    assert taught["accuracy"] > 0.9
    assert taught["accuracy_control"] > 0.9  # which hears the teacher, too
    assert alone["accuracy"] < 0.6
    assert alone["accuracy_control"] < 0.6


def test_the_same_seed_gives_the_same_bytes_killed_and_resumed_or_not(context, teacher) -> None:
    chosen = settings(control=False, freeze_after=0.5, fit={"epochs": 3})
    whole = apply(teacher, chosen, context(200))

    def kill(ratio: float, note: str) -> None:
        if "epoch 3" in note:
            raise KeyboardInterrupt

    killed = context(200, on_progress=kill)
    with pytest.raises(KeyboardInterrupt):
        apply(teacher, chosen, killed)
    resumed = apply(teacher, chosen, context(200, checkpoints=killed.checkpoints))
    assert resumed.model.path.read_bytes() == whole.model.path.read_bytes()


def test_what_cannot_be_is_told(context, teacher, tmp_path) -> None:
    with pytest.raises(PassError, match="qat trains: expected labelled training samples, found none"):
        apply(teacher, settings(), context(training=None))
    with pytest.raises(PassError, match="qat: no teacher 'wide' in torch form; there are baseline"):
        apply(teacher, settings(teacher="wide"), context(64))
    bare = save_module(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), tmp_path / "bare.torch")
    with pytest.raises(PassError, match="qat changed nothing: the model calls no convolution or linear layer"):
        apply(WorkingModel(bare.path, Form.TORCH), settings(), context(64))


def test_the_imitation_rounds_what_is_calibrated(context, teacher, splits) -> None:
    module = load_module(teacher)
    images = torch.from_numpy(splits[1].inputs["image"][:64])
    rounded = FakeQuantized(module, (images[:1],), 8)
    rounded.calibrate((images,))
    with torch.inference_mode():
        wanted, found = module(images), rounded(images)
    noise = float(((wanted - found) ** 2).sum() / (wanted**2).sum())
    assert 20 < -10 * np.log10(noise) < 60
