"""What is said of a search of which nothing is kept."""

from types import SimpleNamespace

import pytest

from muster_compression.search.conclude import NothingKeptError, write_frontier
from muster_compression.search.point import Point, SearchSummary, Verdict


def missed(number, accuracy=None, agreement=None, metric="mae"):
    point = Point(number, "v", {}, "onnx", str(number), 10, metric, accuracy, agreement=agreement)
    return Verdict(point, False, f"under the floor: {number}")


@pytest.mark.parametrize(
    ("points", "nearest"),
    [
        ([missed(1), missed(2, 0.4), missed(3, 0.3)], "v-3"),  # errors: less is better, unknown is no zero
        ([missed(1, -0.5, metric="r2"), missed(2, metric="r2"), missed(3, -0.2, metric="r2")], "v-3"),
        ([missed(1, 0.7, metric="accuracy"), missed(2, 0.8, metric="accuracy")], "v-2"),
        ([missed(1), missed(2)], "v-1"),
    ],
)
def test_the_nearest_miss_is_one_whose_quality_is_known(tmp_path, points, nearest):
    summary = SearchSummary({}, "4", 1.0, tuple(points))
    with pytest.raises(NothingKeptError, match=f"none of {len(points)} points .*; the nearest is {nearest}, under"):
        write_frontier(SimpleNamespace(), [], summary, tmp_path)
