"""Sensitivity of layers as SVG bars: the shorter a bar, the more the model minds a change of that layer."""

from __future__ import annotations

from collections.abc import Sequence

from muster_compression.page.figures import count
from muster_compression.page.markup import Html, element, escaped, void
from muster_compression.sensitivity.layer import LayerSensitivity, most_sensitive_first

MOST_SHOWN = 20
_ROW, _NAMES, _WIDTH, _NOTES = 19, 230, 700, 150
_CHARACTERS = 34


def bars(layers: Sequence[LayerSensitivity]) -> Html:
    """At most 20 layers, the most sensitive first; nothing without layers."""
    shown = most_sensitive_first(layers)[:MOST_SHOWN]
    if not shown:
        return Html("")
    finite = [item.sqnr_db for item in shown if item.sqnr_db is not None]
    top = max([*finite, 1.0])
    rows = [_row(item, index, top) for index, item in enumerate(shown)]
    label = f"sensitivity of {len(shown)} layers"
    return element(
        "svg", element("title", escaped(label)), *rows, viewBox=f"0 0 {_WIDTH} {len(shown) * _ROW + 4}", role="img"
    )


def _row(item: LayerSensitivity, index: int, top: float) -> Html:
    y = index * _ROW
    name = item.layer if len(item.layer) <= _CHARACTERS else "…" + item.layer[1 - _CHARACTERS :]
    share = 1.0 if item.sqnr_db is None else max(0.0, item.sqnr_db) / top
    length = max(1.0, share * (_WIDTH - _NAMES - _NOTES))
    figure = "nothing differs" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"
    agreement = "" if item.agreement is None else f", {item.agreement:.1%} agree"
    title = f"{item.layer} ({item.kind}, {count(item.params)} weights): {figure}{agreement}"
    return element(
        "g",
        element("title", escaped(title)),
        element("text", escaped(name), x=_NAMES - 8, y=y + 13, text_anchor="end"),
        void(
            "rect", x=_NAMES, y=y + 3, width=f"{length:.1f}", height=_ROW - 6, class_="worst" if index == 0 else "bar"
        ),
        element("text", escaped(figure + agreement), x=f"{_NAMES + length + 6:.1f}", y=y + 13),
    )
