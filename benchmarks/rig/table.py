"""Rows as JSON, or as the table that goes into docs/results.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def say_rows(rows: Sequence[Row], output: str) -> None:
    """Print them: ``json``, or ``markdown`` ready to paste."""
    print(json.dumps(rows) if output == "json" else as_markdown(rows))


def as_markdown(rows: Sequence[Row]) -> str:
    """One column per key of the first row."""
    if not rows:
        return ""
    heads = list(rows[0])
    titles = [head.replace("_", " ") for head in heads]
    cells = [[_cell(row.get(head)) for head in heads] for row in rows]
    lines = [titles, ["---"] * len(heads), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
