from dataclasses import replace

import pytest

from muster_compression.comparing import differences, table, verdict
from muster_protos.model import Accuracy, ArtifactRef, Format, VariantManifest

A = VariantManifest(
    variant_id="m.v1.fp32",
    format=Format.ONNX,
    artifact=ArtifactRef("a" * 64, 4000),
    accuracy=Accuracy(350, "accuracy", 0.98, 0.96, 0.99, 1.0, 0.99, 1.0, ece=0.02),
    evaluation=ArtifactRef("e" * 64, 9),
    tool_versions={"torch": "2.13.0"},
)
B = replace(
    A,
    variant_id="m.v1.int8",
    artifact=ArtifactRef("b" * 64, 1000),
    accuracy=Accuracy(350, "accuracy", 0.97, 0.95, 0.985, 0.99, 0.975, 0.995, ece=0.03),
    sqnr_db=31.0,
)


def by_figure(a, b):
    return {item.figure: item for item in differences(a, b)}


def test_differences_are_b_against_a_with_ratios_of_what_is_saved():
    found = by_figure(A, B)
    assert found["size_bytes"].difference == -3000
    assert found["size_bytes"].ratio == 4.0
    assert found["accuracy"].difference == pytest.approx(-0.01)
    assert found["accuracy"].do_intervals_overlap is True
    assert found["sqnr_db"].difference is None
    assert found["agreement"].do_intervals_overlap is True


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (Accuracy(350, "accuracy", 0.97, 0.95, 0.985), "accuracy: B is 1.00 points worse; the 95 % intervals overlap"),
        (Accuracy(350, "accuracy", 0.9, 0.87, 0.93), "B is 8.00 points worse; the 95 % intervals do not overlap"),
        (Accuracy(350, "accuracy", 0.98, 0.96, 0.99), "accuracy: the same"),
        (Accuracy(350, "accuracy", 0.99), "B is 1.00 points better; no intervals are known"),
        (Accuracy(350, "auc", 0.9), "not comparable"),
        (Accuracy(350, "accuracy", None), "not comparable"),
    ],
)
def test_the_verdict_says_whether_it_may_be_chance(accuracy, words):
    assert words in verdict(A, replace(B, accuracy=accuracy))


def test_smaller_errors_are_better_and_other_samples_are_told():
    a = replace(A, accuracy=Accuracy(9, "mae", 0.5, 0.4, 0.6))
    b = replace(B, accuracy=Accuracy(9, "mae", 0.2, 0.1, 0.3), evaluation=ArtifactRef("f" * 64, 9))
    assert verdict(a, b) == (
        "mae: B is 0.3 better; the 95 % intervals do not overlap; they were judged on different samples"
    )


def test_the_table_has_a_column_per_variant_and_one_of_differences():
    text = table(A, B)
    size = next(line.split() for line in text.splitlines() if line.startswith("size_bytes"))
    assert size == ["size_bytes", "4000", "1000", "-3000", "(4x", "less)"]
    assert "onnx" in table(A)
    assert len(table(A).splitlines()) >= 20
