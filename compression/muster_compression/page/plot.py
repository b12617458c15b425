"""Quality over what it costs, as SVG: points with their intervals and the frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from muster_compression.page.markup import Html, element, escaped, joined, void
from muster_protos.metric_names import is_share

_WIDTH, _HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 14, 42
_FEWEST_TICKS = 3
_LABEL_WIDTH, _LABEL_HEIGHT = 14, 12
_NARROWEST_SHARE = 0.02  # of the metric's own size: a plot of nothing but noise must not look dramatic


@dataclass(frozen=True, slots=True)
class Spot:
    """One point of the plot."""

    label: str  # beside it; "" = none
    title: str  # when pointed at
    kind: str  # "baseline", "kept", "behind", "dropped", "tried"
    group: str  # format: its shape, and whom it is compared with
    cost: float  # above 0
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """What stands at the axes."""

    cost: str  # "size (MB)"
    metric: str
    is_less_better: bool = False


def plot(spots: Sequence[Spot], axes: Axes) -> Html:
    """A scatter plot with a logarithmic cost axis; nothing without points."""
    shown = [spot for spot in spots if spot.cost > 0 and math.isfinite(spot.cost) and math.isfinite(spot.value)]
    if not shown:
        return Html("")
    scale = _Scale.of(shown)
    label = f"{axes.metric} over {axes.cost}, {len(shown)} points"
    content = [
        element("title", escaped(label)),
        *_cost_axis(scale, axes.cost),
        *_value_axis(scale, axes.metric),
        *(_edge([spot for spot in shown if spot.group == group], scale, axes) for group in _groups(shown)),
        *(_drawn(spot, scale) for spot in sorted(shown, key=lambda spot: spot.kind != "tried")),
        *_labels(shown, scale),
    ]
    return element("svg", *content, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)


@dataclass(frozen=True, slots=True)
class _Scale:
    low_cost: float  # log10
    high_cost: float
    low: float
    high: float

    @staticmethod
    def of(spots: Sequence[Spot]) -> _Scale:
        costs = [math.log10(spot.cost) for spot in spots]
        ends = [end for spot in spots if spot.kind != "tried" for end in (spot.low, spot.high) if end is not None]
        values = [*(spot.value for spot in spots), *ends]
        low, high = min(values), max(values)
        least = max(_NARROWEST_SHARE * max(abs(low), abs(high)), 1e-9)
        middle, half = (low + high) / 2, max((high - low) * 0.55, least)
        room = max((max(costs) - min(costs)) * 0.08, 0.05)
        return _Scale(min(costs) - room, max(costs) + room, middle - half, middle + half)

    def x(self, cost: float) -> float:
        share = (math.log10(cost) - self.low_cost) / (self.high_cost - self.low_cost)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _groups(spots: Sequence[Spot]) -> list[str]:
    return list(dict.fromkeys(spot.group for spot in spots))


def _cost_axis(scale: _Scale, title: str) -> list[Html]:
    bottom = _HEIGHT - _BOTTOM
    parts = [void("line", x1=_LEFT, y1=bottom, x2=_WIDTH - _RIGHT, y2=bottom, class_="axis")]
    for tick in log_ticks(10**scale.low_cost, 10**scale.high_cost):
        x = scale.x(tick)
        parts.append(void("line", x1=x, y1=_TOP, x2=x, y2=bottom + 4, class_="axis"))
        parts.append(element("text", escaped(f"{tick:g}"), x=x, y=bottom + 17, text_anchor="middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(element("text", escaped(title), x=middle, y=_HEIGHT - 6, text_anchor="middle"))
    return parts


def _value_axis(scale: _Scale, metric: str) -> list[Html]:
    parts = [void("line", x1=_LEFT, y1=_TOP, x2=_LEFT, y2=_HEIGHT - _BOTTOM, class_="axis")]
    step = nice_step((scale.high - scale.low) / 5)
    tick = math.ceil(scale.low / step) * step
    while tick <= scale.high:
        y = scale.y(tick)
        parts.append(void("line", x1=_LEFT - 4, y1=y, x2=_WIDTH - _RIGHT, y2=y, class_="axis"))
        parts.append(element("text", escaped(_tick(tick, metric)), x=_LEFT - 7, y=y + 4, text_anchor="end"))
        tick += step
    return parts


def _tick(value: float, metric: str) -> str:
    return f"{round(value * 100, 6):g} %" if is_share(metric) or metric == "agreement" else f"{round(value, 9):g}"


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the two, only the powers where those are many; round steps where few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1,) if last - first > 4 else (1, 2, 5)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) >= _FEWEST_TICKS:
        return inside
    step = nice_step((high - low) / 7)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, first + 9) if index * step <= high]


def nice_step(raw: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``raw``."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _edge(spots: Sequence[Spot], scale: _Scale, axes: Axes) -> Html:
    """The frontier of this plot as steps: what the best quality up to each cost is."""
    sign = -1 if axes.is_less_better else 1
    best, path = -math.inf, ""
    for spot in sorted((spot for spot in spots if spot.kind != "dropped"), key=lambda spot: (spot.cost, -spot.value)):
        if sign * spot.value <= best:
            continue
        best = sign * spot.value
        x, y = scale.x(spot.cost), scale.y(spot.value)
        path += f"H{x} V{y}" if path else f"M{x} {y}"
    return void("path", d=f"{path} H{_WIDTH - _RIGHT}", class_="edge") if path else Html("")


def _drawn(spot: Spot, scale: _Scale) -> Html:
    x, y = scale.x(spot.cost), scale.y(spot.value)
    parts = [element("title", escaped(spot.title))]
    if spot.low is not None and spot.high is not None and spot.kind != "tried":
        low, high = scale.y(spot.low), scale.y(spot.high)
        parts.append(void("line", x1=x, y1=low, x2=x, y2=high, class_="whisker"))
        parts += [void("line", x1=x - 4, y1=end, x2=x + 4, y2=end, class_="whisker") for end in (low, high)]
    parts.append(_shape(spot, x, y))
    return element("g", joined(parts))


def _labels(spots: Sequence[Spot], scale: _Scale) -> list[Html]:
    """Beside their points, one below the other where points coincide."""
    taken: list[tuple[float, float]] = []
    parts = []
    for spot in spots:
        if not spot.label:
            continue
        x, y = scale.x(spot.cost) + 8, scale.y(spot.value) - 6
        while any(abs(x - other_x) < _LABEL_WIDTH and abs(y - other_y) < _LABEL_HEIGHT for other_x, other_y in taken):
            y = round(y + _LABEL_HEIGHT, 1)
        taken.append((x, y))
        parts.append(element("text", escaped(spot.label), x=round(x, 1), y=round(y, 1), class_="name"))
    return parts


def _shape(spot: Spot, x: float, y: float) -> Html:
    """A circle for ONNX, a diamond for anything else, small for what was only tried; a cross over what was dropped."""
    radius = 3 if spot.kind == "tried" else 5
    if spot.group == "onnx":
        mark = void("circle", cx=x, cy=y, r=radius, class_=spot.kind)
    else:
        reach = radius * 1.3
        corners = f"{x},{y - reach:.1f} {x + reach:.1f},{y} {x},{y + reach:.1f} {x - reach:.1f},{y}"
        mark = void("polygon", points=corners, class_=spot.kind)
    if spot.kind != "dropped":
        return mark
    cross = f"M{x - 4:.1f} {y - 4:.1f}L{x + 4:.1f} {y + 4:.1f}M{x - 4:.1f} {y + 4:.1f}L{x + 4:.1f} {y - 4:.1f}"
    return joined([mark, void("path", d=cross, class_="dropped")])
