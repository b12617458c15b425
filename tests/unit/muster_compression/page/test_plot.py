import math
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from muster_compression.page.plot import Axes, Spot, log_ticks, nice_step, plot

AXES = Axes("size (MB)", "accuracy")
positive = st.floats(1e-6, 1e6)
shares = st.floats(-1e3, 1e3)


@settings(deadline=None)
@given(st.lists(st.tuples(positive, shares, st.floats(0, 10)), min_size=1, max_size=12))
def test_every_point_lies_inside_the_plot(points):
    spots = [
        Spot(str(i), "t", "kept", "onnx", cost, value, value - w, value + w)
        for i, (cost, value, w) in enumerate(points)
    ]
    svg = ElementTree.fromstring(plot(spots, AXES))
    circles = list(svg.iter("circle"))
    assert len(circles) == len(points)
    for circle in circles:
        assert 58 <= float(circle.get("cx")) <= 542
        assert 14 <= float(circle.get("cy")) <= 298
    for line in svg.iter("line"):
        assert all(math.isfinite(float(line.get(key))) for key in ("x1", "y1", "x2", "y2"))


@settings(deadline=None)
@given(positive, st.floats(1.1, 1e8))
def test_ticks_lie_between_the_ends(low, factor):
    ticks = log_ticks(low, low * factor)
    assert all(low * (1 - 1e-6) <= tick <= low * factor * (1 + 1e-6) for tick in ticks)
    assert 2 <= len(ticks) <= 20


@settings(deadline=None)
@given(st.floats(1e-9, 1e9))
def test_a_step_is_at_least_what_was_asked_and_at_most_two_and_a_half_times_that(raw):
    assert raw * 0.999 <= nice_step(raw) <= raw * 2.501


def test_the_frontier_is_a_staircase_of_the_best_so_far():
    spots = [Spot("", "t", "kept", "onnx", cost, value) for cost, value in ((1, 0.5), (2, 0.4), (3, 0.9))]
    path = ElementTree.fromstring(plot(spots, AXES)).find("path").get("d")
    assert path.count("V") == 1
    less = ElementTree.fromstring(plot(spots, Axes("ms", "mae", True))).find("path").get("d")
    assert less.count("V") == 1


def test_what_has_no_cost_is_not_drawn():
    assert plot([Spot("", "t", "kept", "onnx", 0.0, 0.5), Spot("", "t", "kept", "onnx", math.inf, 0.5)], AXES) == ""
