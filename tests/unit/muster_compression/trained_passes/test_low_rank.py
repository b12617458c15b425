from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from muster_compression.passes.low_rank import LowRankSettings, apply
from muster_compression.passes.port import PassError
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.score import score


def settings(**given: object) -> LowRankSettings:
    return LowRankSettings.model_validate(given)


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_half_of_the_multiplications_go_and_the_figures_are_those_of_the_file(context, teacher, splits) -> None:
    output = apply(teacher, settings(ratio=0.5), context())
    figures = output.record.figures
    module = load_module(output.model)
    assert figures["macs_after"] <= 0.5 * figures["macs_before"]
    assert params(module) == figures["params_after"] < figures["params_before"] == params(load_module(teacher))
    assert sum(isinstance(child, nn.Sequential) and "0" in child._modules for child in module.modules()) >= 1
    assert 0 < figures["layers_changed"] < figures["layers_eligible"]
    assert f"{figures['layers_changed']} of {figures['layers_eligible']} layers" in output.record.effect
    assert score(module, splits[1], context().signature) > 0.85
    assert len(output.record.sensitivities) == figures["layers_eligible"] - figures["layers_costly"]
    assert all(item.sqnr_db is not None for item in output.record.sensitivities)


def test_choosing_by_sensitivity_beats_the_same_share_of_every_layer(context, teacher, splits) -> None:
    from muster_compression.example_inputs import example_tensors
    from muster_compression.low_rank.factors import factored
    from muster_compression.low_rank.layers import factorable_layers
    from muster_compression.low_rank.ranks import ranks_by_share

    output = apply(teacher, settings(ratio=0.5, measure="params"), context())
    blind = load_module(teacher)
    for layer in factorable_layers(blind, example_tensors(context(), 1)):
        ranks = ranks_by_share(layer.module.weight, 0.5)
        if layer.cost_at(ranks).is_below(layer.cost):
            layer.put(blind, factored(layer.module, ranks))
    assert params(blind) >= 0.9 * output.record.figures["params_after"]
    signature = context().signature
    assert score(load_module(output.model), splits[1], signature) > score(blind, splits[1], signature)


def test_fine_tuning_mends_the_loss_and_is_told_with_its_control(context, teacher, splits) -> None:
    bare = apply(teacher, settings(ratio=0.35), context())
    tuned = apply(teacher, settings(ratio=0.35, fit={"epochs": 2, "learning_rate": 0.003}), context())
    signature = context().signature
    found = score(load_module(tuned.model), splits[1], signature)
    assert found > score(load_module(bare.model), splits[1], signature)
    figures = tuned.record.figures
    assert figures["accuracy"] == pytest.approx(found, abs=1e-6)
    assert figures["accuracy_control_low"] < figures["accuracy_control"] < figures["accuracy_control_high"]
    assert figures["n"] == 350
    assert "the unfactored model fine-tuned as long" in tuned.record.effect


def test_energy_leaves_sensitive_layers_alone(context, teacher) -> None:
    bold = apply(teacher, settings(energy=0.7, least_sqnr_db=-100), context()).record.figures
    careful = apply(teacher, settings(energy=0.7, least_sqnr_db=8), context()).record.figures
    assert careful["layers_changed"] < bold["layers_changed"]
    assert careful["layers_sensitive"] == bold["layers_changed"] - careful["layers_changed"]


def test_the_same_seed_gives_the_same_bytes(context, teacher) -> None:
    first, second = (
        apply(teacher, settings(ratio=0.5, fit={"epochs": 1}, control=False), context(200)) for _ in range(2)
    )
    assert first.model.path.read_bytes() == second.model.path.read_bytes()


def test_killed_and_resumed_it_gives_the_bytes_of_an_uninterrupted_run(context, teacher) -> None:
    chosen = settings(ratio=0.5, fit={"epochs": 3}, control=False)
    whole = apply(teacher, chosen, context(200))

    def kill(ratio: float, note: str) -> None:
        if "epoch 3" in note:
            raise KeyboardInterrupt

    killed = context(200, on_progress=kill)
    with pytest.raises(KeyboardInterrupt):
        apply(teacher, chosen, killed)
    notes: list[str] = []
    again = context(200, checkpoints=killed.checkpoints, on_progress=lambda ratio, note: notes.append(note))
    assert apply(teacher, chosen, again).model.path.read_bytes() == whole.model.path.read_bytes()
    assert {note.partition(" of ")[0][-1] for note in notes if "epoch" in note} == {"3"}


def test_a_pass_that_changes_nothing_fails(context, teacher) -> None:
    with pytest.raises(PassError, match="low-rank changed nothing: of 7 layers 7 would not be smaller"):
        apply(teacher, settings(energy=0.99999), context())


def test_a_kept_layer_stays_and_a_misspelt_one_is_told(context, teacher) -> None:
    output = apply(teacher, settings(ratio=0.6, keep=["coarse.first"]), context())
    assert isinstance(load_module(output.model).coarse.first, nn.Conv2d)
    with pytest.raises(PassError, match=r"no factorable layer is named 'coarse\.frist'; near it are coarse\.first"):
        apply(teacher, settings(keep=["coarse.frist"]), context())


def test_no_layers_and_no_training_samples_are_told(context, teacher, tmp_path) -> None:
    bare = save_module(nn.Sequential(nn.Flatten()), tmp_path / "bare.torch")
    with pytest.raises(PassError, match="no plain linear layer"):
        apply(bare, settings(), context())
    with pytest.raises(PassError, match="trains: expected labelled training samples"):
        apply(teacher, settings(fit={"epochs": 1}), context(training=None))


def test_layers_of_torchs_own_transformer_are_factored_too(context, tmp_path) -> None:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(16, 2, 64, dropout=0.0, batch_first=True)
    rows = nn.Flatten(1, 2)  # (n, 1, 8, 8) -> (n, 8, 8): eight tokens
    given = save_module(nn.Sequential(rows, nn.Linear(8, 16), block, nn.Flatten(), nn.Linear(128, 10)), tmp_path / "v")
    output = apply(given, settings(ratio=0.6, measure="params"), context())
    module = load_module(output.model)
    changed = [name for name in ("linear1", "linear2") if isinstance(getattr(module[2], name), nn.Sequential)]
    assert changed
    assert params(module) < 0.7 * params(load_module(given))


def test_without_any_data_noise_tells_the_sensitivity(context, teacher) -> None:
    empty = context(training=None, holdout=None, calibration={})
    output = apply(teacher, settings(ratio=0.5), empty)
    assert output.record.figures["layers_changed"] >= 1
    assert torch.isfinite(load_module(output.model)(torch.zeros(1, 1, 8, 8))).all()


def test_ratio_and_energy_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="expected ratio or energy, found both"):
        settings(ratio=0.5, energy=0.9)
