from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.passes.distill import DistillSettings, apply
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.divergence import DivergedError
from muster_compression.training.score import outputs_of, score
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import Signature, TensorSpec

NARROW = {"ratio": 0.25}


def settings(**given: object) -> DistillSettings:
    fit = {"learning_rate": 0.01, **given.pop("fit", {"epochs": 1})}  # type: ignore[dict-item]
    return DistillSettings.model_validate({"student": NARROW, **given, "fit": fit})


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_with_wrong_labels_the_teacher_helps_and_the_control_says_by_how_much(context, teacher, splits) -> None:
    random = np.random.default_rng(0)
    labels = splits[0].labels[:300].copy()
    wrong = random.random(300) < 0.5
    labels[wrong] = random.integers(0, 10, wrong.sum())
    doubtful = Split({"image": splits[0].inputs["image"][:300]}, labels)
    output = apply(teacher, settings(alpha=1.0, fit={"epochs": 14}), context(training=doubtful))
    figures = output.record.figures
    student = load_module(output.model)
    assert figures["accuracy"] > figures["accuracy_control"] + 0.1
    assert params(student) == figures["params_after"] < 0.1 * params(load_module(teacher))
    assert figures["accuracy"] == pytest.approx(score(student, splits[1], context().signature), abs=1e-6)
    assert figures["accuracy_control_low"] < figures["accuracy_control"] < figures["accuracy_control_high"]
    assert figures["n"] == 350
    assert "of the same student trained as long without a teacher, on 350 held-out samples" in output.record.effect
    assert figures["teacher_asked"] == "once per sample"


def test_features_draw_near_to_the_teachers_and_the_projections_are_dropped(context, teacher, splits) -> None:
    chosen = {"student": {"ratio": 0.5}, "alpha": 0.0, "control": False, "fit": {"epochs": 4}}
    near, far = (
        apply(teacher, settings(**chosen, **how), context(500))
        for how in ({"features": "auto", "feature_weight": 10.0}, {})
    )
    assert near.record.figures["feature_pairs"] == 2
    modules = [load_module(output.model) for output in (near, far)]
    assert list(modules[0].state_dict()) == list(modules[1].state_dict())
    assert not any(child._forward_hooks for child in modules[0].modules())
    images = torch.from_numpy(splits[1].inputs["image"])
    wanted = pixels(load_module(teacher), images)
    residuals = [linear_residual(pixels(module, images), wanted) for module in modules]
    assert residuals[0] < residuals[1]


def pixels(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(n * pixels, channels) of the last stage."""
    with torch.inference_mode():
        return module.coarse(module.down(module.fine(module.stem(images)))).movedim(1, -1).flatten(0, -2)


def linear_residual(given: torch.Tensor, wanted: torch.Tensor) -> float:
    """Share of ``wanted`` that no linear function of ``given`` explains."""
    given = torch.cat([given, torch.ones(len(given), 1)], 1)
    best = torch.linalg.lstsq(given, wanted).solution
    return float(((given @ best - wanted) ** 2).sum() / (wanted**2).sum())


def test_named_pairs_are_taken(context, teacher) -> None:
    output = apply(teacher, settings(features=[["down", "coarse"]], control=False), context(100))
    assert output.record.figures["feature_pairs"] == 1


STUDENT = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, width, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, classes))

    def forward(self, image):
        return self.body(image)

def make():
    return Small(4).eval()

def make_of_other_classes():
    return Small(4, 7).eval()

def fails():
    raise RuntimeError("no such luck")
"""


def test_a_student_of_the_users_own_is_trained(context, teacher, tmp_path) -> None:
    source = tmp_path / "own_student.py"
    source.write_text(STUDENT)
    chosen = settings(student=f"{source}:make", control=False, fit={"epochs": 5})
    output = apply(teacher, chosen, context(500))
    assert type(load_module(output.model)).__name__ == "Small"
    assert output.record.figures["accuracy"] > 0.5
    again = apply(teacher, chosen, context(500))
    assert again.model.path.read_bytes() == output.model.path.read_bytes()


def test_a_changed_student_file_changes_the_settings_that_are_hashed(tmp_path) -> None:
    source = tmp_path / "changing.py"
    source.write_text(STUDENT)
    before = settings(student=f"{source}:make").model_dump(mode="json")
    source.write_text(STUDENT.replace("Small(4)", "Small(5)"))
    changed = settings(student=f"{source}:make").model_dump(mode="json")
    assert changed != before
    source.write_text(f"import width_of_student\n{STUDENT}")
    (tmp_path / "width_of_student.py").write_text("WIDTH = 4")
    imports = settings(student=f"{source}:make").model_dump(mode="json")
    (tmp_path / "width_of_student.py").write_text("WIDTH = 5")
    assert settings(student=f"{source}:make").model_dump(mode="json") != imports
    source.write_text("def make(:")
    settings(student=f"{source}:make").model_dump(mode="json")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            "make_of_other_classes",
            PassError,
            r"answers \[\[2, 10\]\] to 2 samples as the teacher does, found \[\[2, 7\]\]",
        ),
        ("fails", InvalidInputError, "no such luck"),
        ("mak", NotFoundError, "has no function 'mak'"),
    ],
)
def test_students_that_cannot_be_are_told(context, teacher, tmp_path, function, error, message) -> None:
    source = tmp_path / f"bad_{function}.py"
    source.write_text(STUDENT)
    with pytest.raises(error, match=message):
        apply(teacher, settings(student=f"{source}:{function}"), context(100))


def test_what_does_not_fit_is_told(context, teacher, tmp_path) -> None:
    with pytest.raises(PassError, match="no teacher 'wide' in torch form; there are baseline"):
        apply(teacher, settings(teacher="wide"), context())
    with pytest.raises(PassError, match="is the teacher baseline itself; name a student"):
        apply(teacher, settings(student=None), context())
    with pytest.raises(PassError, match=r"expected a student file.py:function or \{ratio: 0.25\}, found 'small'"):
        apply(teacher, settings(student="small"), context())
    with pytest.raises(PassError, match="the student has no layer 'dwon'; near it are down"):
        apply(teacher, settings(features=[["dwon", "down"]]), context())
    with pytest.raises(PassError, match="do not fit: expected the same shape but for the width"):
        apply(teacher, settings(features=[["fine", "coarse"]]), context())
    with pytest.raises(PassError, match="distill trains: expected labelled training samples, found none"):
        apply(teacher, settings(), context(training=None))


def test_a_smaller_model_that_comes_in_learns_from_the_baseline(context, teacher, trained, tmp_path) -> None:
    from muster_compression.pruning.shrink import shrunk

    pruned = shrunk(load_module(teacher), (torch.zeros(1, 1, 8, 8),), 0.5, 0)
    given = save_module(pruned, tmp_path / "pruned.torch")
    output = apply(given, settings(student=None, control=False, fit={"epochs": 2}), context(300))
    assert params(load_module(output.model)) == params(pruned)
    assert output.record.figures["accuracy"] > score(pruned, context().holdout, context().signature)


def test_the_same_seed_gives_the_same_bytes_killed_and_resumed_or_not(context, teacher) -> None:
    chosen = settings(features="auto", control=False, fit={"epochs": 3})
    whole = apply(teacher, chosen, context(200))

    def kill(ratio: float, note: str) -> None:
        if "epoch 3" in note:
            raise KeyboardInterrupt

    killed = context(200, on_progress=kill)
    with pytest.raises(KeyboardInterrupt):
        apply(teacher, chosen, killed)
    resumed = apply(teacher, chosen, context(200, checkpoints=killed.checkpoints))
    assert resumed.model.path.read_bytes() == whole.model.path.read_bytes()


def test_control_and_student_begin_alike_and_see_the_same_order(context, teacher) -> None:
    """With nothing to learn from the teacher both are one training."""
    figures = apply(teacher, settings(alpha=0.0, fit={"epochs": 2}), context(300)).record.figures
    assert figures["accuracy"] == figures["accuracy_control"]
    without = apply(teacher, settings(alpha=0.0, control=False, fit={"epochs": 2}), context(300)).record.figures
    assert without["accuracy"] == figures["accuracy"]
    assert "accuracy_control" not in without


def test_augmented_samples_are_shown_to_the_teacher_too(context, teacher) -> None:
    figures = apply(
        teacher, settings(control=False, fit={"epochs": 1, "augment": ["shift"]}), context(64)
    ).record.figures
    assert figures["teacher_asked"] == "each batch"


def test_a_training_that_diverges_fails(context, teacher) -> None:
    wild = settings(control=False, fit={"epochs": 4, "learning_rate": 10, "optimizer": "sgd", "schedule": "constant"})
    with pytest.raises(DivergedError, match="distill diverged"):
        apply(teacher, wild, context(400))


def test_values_are_learned_from_a_teacher_of_values(context, tmp_path) -> None:
    random = np.random.default_rng(0)
    given = random.normal(size=(240, 6)).astype(np.float32)
    weights = random.normal(size=(6, 1)).astype(np.float32)
    truth = given @ weights
    exact = nn.Sequential(nn.Linear(6, 1))
    with torch.no_grad():
        exact[0].weight.copy_(torch.from_numpy(weights.T))
        exact[0].bias.zero_()
    guide = save_module(exact, tmp_path / "exact.torch")
    torch.manual_seed(0)
    start = save_module(nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 1)), tmp_path / "start.torch")
    signature = Signature(
        (TensorSpec("values", "float32", (1, 6)),), (TensorSpec("out", "float32", (1, 1)),), metric="mse"
    )
    noisy = Split({"values": given[:160]}, truth[:160] + random.normal(0, 3, size=(160, 1)).astype(np.float32))
    held = Split({"values": given[160:]}, truth[160:])
    own = context(
        signature=signature,
        training=noisy,
        calibration={},
        branches={"baseline": WorkingModel(guide.path, Form.TORCH)},
        holdout=held,
    )
    output = apply(start, settings(student=None, alpha=1.0, fit={"epochs": 30}), own)
    found = outputs_of(load_module(output.model), held)[0].numpy()
    assert output.record.figures["mse"] < output.record.figures["mse_control"]
    assert float(((found - held.labels) ** 2).mean()) < 0.5 * float((held.labels**2).mean())
