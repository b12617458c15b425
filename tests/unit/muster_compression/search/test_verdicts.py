from muster_compression.frontier import Candidate
from muster_compression.search.point import Point
from muster_compression.search.verdicts import BASELINE_KEY, verdicts

BASELINE = Candidate(BASELINE_KEY, "onnx", 0.98, 10.0, 4000)


def point(number, accuracy=0.9, latency_ms=5.0, size_bytes=1000, **changes):
    values = {"format": "onnx", "sha256": str(number), "metric": "accuracy"} | changes
    return Point(number, "v", {}, accuracy=accuracy, latency_ms=latency_ms, size_bytes=size_bytes, **values)


def test_each_point_is_chosen_or_told_why_not():
    found = verdicts(
        [
            point(1, 0.97),
            point(2, 0.95, 6.0, 1200),
            point(3, 0.97, sha256="1"),
            point(4, 0.5, 1.0, 100, under_floor="accuracy 50 % is under the floor"),
            point(5, failed="operator Foo"),
            point(6, 0.97, 11.0, 5000),
            point(7, 0.9, 6.0, 1200, format="tflite"),
            point(8, 0.99, 12.0, 5000),
        ],
        BASELINE,
        "accuracy",
    )
    assert [item.is_chosen for item in found] == [True, False, False, False, False, False, True, True]
    assert found[1].reason == (
        "dominated by v-1: accuracy 97.00 % against 95.00 %, 5 against 6 ms, 1.00 kB against 1.20 kB"
    )
    assert found[2].reason == "the same bytes as v-1"
    assert found[3].reason == "under the floor: accuracy 50 % is under the floor"
    assert found[4].reason == "failed: operator Foo"
    assert found[5].reason.startswith("dominated by the baseline: ")
    assert [item.point.number for item in found] == list(range(1, 9))


def test_of_points_with_the_same_figures_the_first_is_kept_and_a_few_percent_of_latency_are_no_difference():
    found = verdicts([point(1), point(2, latency_ms=5.04), point(3, latency_ms=4.8)], BASELINE, "accuracy")
    assert [item.is_chosen for item in found] == [False, False, True]
    found = verdicts([point(1), point(2, latency_ms=5.04), point(3, format="tflite")], BASELINE, "accuracy")
    assert [item.is_chosen for item in found] == [True, False, True]
    assert found[1].reason == "no figure differs from those of v-1"


def test_errors_are_better_when_small():
    found = verdicts(
        [point(1, 0.3, metric="mae"), point(2, 0.2, metric="mae")],
        Candidate(BASELINE_KEY, "onnx", -0.1, 9.0, 9000),
        "mae",
    )
    assert [item.is_chosen for item in found] == [False, True]
    assert "mae 0.2 against 0.3" in found[0].reason


def test_a_quality_below_zero_is_told_as_it_is():
    worst = Candidate(BASELINE_KEY, "onnx", -0.9, 9.0, 9000)
    found = verdicts([point(1, -0.4, metric="r2"), point(2, -0.5, metric="r2")], worst, "r2")
    assert "r2 -0.4 against -0.5" in found[1].reason
