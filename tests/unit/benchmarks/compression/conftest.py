"""A variant's row as a run gives it."""

from __future__ import annotations

import pytest

from benchmarks.compression.rows import Row

_ROW = Row(
    task="mnist",
    template="tiny",
    variant="tiny-int8",
    format="onnx",
    is_kept=True,
    reason="",
    accuracy=0.98,
    accuracy_low=0.97,
    accuracy_high=0.99,
    samples=5000,
    teacher_accuracy=0.99,
    accuracy_share=0.9905,
    share_low=0.985,
    share_high=0.995,
    agreement=0.985,
    control=0.975,
    own_controls=("distill 98.10% : 97.40%",),
    parent="tiny",
    macs_ratio=40.0,
    size_bytes=40_000,
    transit_bytes=30_000,
    size_ratio=120.0,
    transit_ratio=150.0,
    latency_ms=0.02,
    teacher_ms=0.24,
    latency_ratio=12.0,
    latency_ratio_low=11.0,
    latency_ratio_high=13.0,
    is_noisy=False,
    cpu_pressure=1.0,
    student_size_ratio=3.5,
    student_latency_ratio=1.4,
    student_accuracy=0.97,
)


@pytest.fixture
def row() -> Row:
    """Smaller than its goal asks, not fast enough, measured on a quiet machine."""
    return _ROW
