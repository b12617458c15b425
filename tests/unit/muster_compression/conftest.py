"""A run as it may come out of real use, with names and reasons that try to break out of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from muster_compression.orders import FailedVariant, StepResult
from muster_compression.rows import VariantRow
from muster_compression.run_file import Asked, Environment, Run
from muster_compression.search.point import Point, SearchSummary, Verdict
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_protos.model import Accuracy

EVIL = "<script>alert('x')</script>&\"'"


@pytest.fixture
def evil() -> str:
    return EVIL


@pytest.fixture
def row() -> Callable[..., VariantRow]:
    def make(name: str, parent: str = "m.v1.fp32", **changes: Any) -> VariantRow:
        values: dict[str, Any] = {
            "name": name,
            "format": "onnx",
            "path": f"/somewhere/m.v1.{name}.onnx",
            "size_bytes": 1_000_000,
            "latency_ms": 2.0,
            "accuracy": 0.97,
            "agreement": 0.99,
            "size_ratio": 4.0,
            "latency_ratio": 2.0,
            "kept": True,
            "reason": "",
            "variant_id": f"m.v1.{name}",
            "parent": parent,
            "recipe": "r",
            "sha256": "0" * 64,
            "transit_bytes": 800_000,
            "precision": "int8",
            "params": 1_000_000,
            "macs": 20_000_000,
            "sparsity": 0.1,
            "latency_reason": "",
            "metric": "accuracy",
            "accuracy_ci": (0.95, 0.985),
            "accuracy_reason": "",
            "agreement_ci": (0.98, 0.995),
            "sqnr_db": 31.4,
            "ece": 0.03,
            "calibration_temperature": 1.4,
            "calibrated_ece": 0.01,
            "samples": 350,
        }
        return VariantRow(**{**values, **changes})

    return make


@pytest.fixture
def run(row: Callable[..., VariantRow]) -> Run:
    layers = tuple(LayerSensitivity(f"layer{index}", "Conv", 100, 10.0 + index, 0.9) for index in range(30))
    steps = (
        StepResult("onnx-prepare", "29 operators became 20", {}, 0.5, True),
        StepResult(
            "prune-structured",
            f"half of {EVIL}",
            {"n": 200, "accuracy": 0.96, "accuracy_low": 0.93, "accuracy_high": 0.98, "accuracy_control": 0.975},
            12.25,
            False,
            Accuracy(350, "accuracy", 0.961, 0.94, 0.98, 0.975),
            sensitivities=layers,
        ),
    )
    point = Point(1, "small", {"small.prune.ratio": 0.5}, "onnx", "1" * 64, 700_000, "accuracy", 0.9, latency_ms=1.2)
    lost = Point(2, "small", {"small.prune.ratio": 0.9}, failed=EVIL)
    return Run(
        model="m:1",
        asked=Asked(EVIL, "mine.yaml", f"name: mine # {EVIL}", "data.npz", "", "0.9", 3),
        environment=Environment("AMD EPYC", 2.0, "Debian 12", "3.11.7", {"torch": "2.13.0"}),
        baseline=row(
            "fp32", "", size_bytes=4_000_000, latency_ms=4.0, accuracy=0.98, size_ratio=1.0, latency_ratio=1.0
        ),
        variants=(
            row("pruned", steps=steps),
            row("pruned-int8", "m.v1.pruned", size_bytes=250_000, latency_ms=0.9, accuracy=0.96),
            row("slow", latency_ms=9.0, size_bytes=2_000_000, accuracy=0.9, accuracy_ci=(0.87, 0.93)),
            row("lite", format="tflite", latency_ms=None, latency_reason="no runtime", latency_ratio=None),
            row("bad", kept=False, reason=f"accuracy 50 % is under the floor {EVIL}", accuracy=0.5),
        ),
        failed=(FailedVariant("odd", f"operator {EVIL} is not known", steps[:1]),),
        notes=(f"layout NCHW {EVIL}",),
        search=SearchSummary(
            {"small.prune.ratio": "0.1 to 0.9"},
            "20 points",
            65.0,
            (Verdict(point, True, "chosen"), Verdict(lost, False, f"failed: {EVIL}")),
            "the budget",
            {"small": "optuna"},
        ),
        made_at_ns=1_790_000_000_000_000_000,
        wall_s=75.0,
    )
