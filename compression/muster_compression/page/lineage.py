"""Who came from whom, as nested lists: children below their parents, dropped and failed ones too."""

from __future__ import annotations

from collections.abc import Mapping

from muster_compression.page.figures import quality, size, times
from muster_compression.page.markup import Html, element, escaped, joined
from muster_compression.rows import VariantRow
from muster_compression.run_file import Run


def lineage(run: Run) -> Html:
    """The tree of one run."""
    known = {row.variant_id for row in run.variants}
    children: dict[str, list[VariantRow]] = {}
    for row in run.variants:
        parent = row.parent if row.parent in known and row.parent != row.variant_id else run.baseline.variant_id
        children.setdefault(parent, []).append(row)
    return element("ul", _branch(run.baseline, children), class_="tree")


def _branch(row: VariantRow, children: Mapping[str, list[VariantRow]]) -> Html:
    below = [_branch(child, children) for child in children.get(row.variant_id, [])]
    inner = element("ul", *below) if below else Html("")
    return element("li", element("b", escaped(row.name)), Html(" "), _figures(row), inner)


def _figures(row: VariantRow) -> Html:
    parts = [quality(row.accuracy, row.metric), size(row.size_bytes)]
    if row.parent:
        parts[1] += f" ({times(row.size_ratio)} smaller)"
    if row.latency_ms is not None:
        faster = f" ({times(row.latency_ratio)} faster)" if row.parent and row.latency_ratio is not None else ""
        parts.append(f"{row.latency_ms:.3g} ms{faster}")
    passes = " → ".join(step.pass_name for step in row.steps)
    dropped = element("span", escaped(f" under the floor: {row.reason}"), class_="bad") if not row.kept else Html("")
    chain = element("span", escaped(f" {passes}"), class_="soft") if passes else Html("")
    return joined([escaped(", ".join(parts)), dropped, chain])
