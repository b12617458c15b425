"""What is measured: tasks with their data, teachers, training budgets, templates and goals."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.compression import prepare
from benchmarks.compression.goals import Goal
from benchmarks.compression.prepare import Prepare
from muster_compression.training.settings import FitSettings

TINY = Goal(100, 15, 0.99, {"onnx": ("tiny-int8", "tiny-weights8"), "tflite": ("tiny-lite-int8", "tiny-lite-weights8")})
EDGE = Goal(8, 4, 0.995, {"onnx": ("pruned-int8",), "tflite": ("pruned-lite-int8",)})
_FOR_CNNS = ("quick", "edge", "tiny", "quality")
_FOR_SMALL_CNNS = ("quick", "edge", "quality")  # tiny is for networks that are far too large for their task


@dataclass(frozen=True, slots=True)
class Task:
    """One data set with one teacher."""

    name: str
    network: str  # function of ``nets``
    about: str  # the teacher in words
    prepare: Prepare
    fit: FitSettings
    templates: tuple[str, ...]
    goals: dict[str, Goal] = field(default_factory=dict)  # by template
    seed: int = 0
    samples: int = 0  # that train
    images_per_s: float = 0.0  # measured: training of the teacher, two cores


TASKS = {
    task.name: task
    for task in (
        Task(
            "spoken-digits",
            "resnet18",
            "ResNet-18 on log-mel pictures of 64 x 64",
            prepare.spoken_digits,
            FitSettings(epochs=30, augment=("shift", "erase", "noise"), mixed_precision=True, weight_decay=1e-2),
            _FOR_CNNS,
            {"tiny": TINY, "edge": EDGE},
            samples=1_600,
            images_per_s=205,
        ),
        Task(
            "mnist",
            "mnist_cnn",
            "the network of PyTorch's own MNIST example",
            prepare.mnist,
            FitSettings(epochs=8, batch_size=64, augment=("shift",)),
            _FOR_CNNS,
            {"tiny": TINY, "edge": EDGE},
            samples=18_000,
            images_per_s=1190,
        ),
        Task(
            "cifar10",
            "resnet20",
            "ResNet-20",
            prepare.cifar,
            FitSettings(epochs=24, batch_size=64, learning_rate=3e-3, augment=("flip", "shift"), mixed_precision=True),
            _FOR_SMALL_CNNS,
            {"edge": EDGE},
            samples=9_000,
            images_per_s=690,
        ),
        Task(
            "mnist-vit",
            "vit",
            "a vision transformer with 4 layers of 4 heads, on MNIST",
            prepare.mnist,
            FitSettings(epochs=12, batch_size=64, augment=("shift",)),
            ("quick", "transformer"),
            samples=18_000,
            images_per_s=1090,
        ),
    )
}
"""By name, in the order of the tables."""
