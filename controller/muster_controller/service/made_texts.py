"""What a recipe gave, in words: one line of names, then a line for everything that a person may miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster_controller.service.workshop import Product
from muster_protos.model import VariantManifest

_LONGEST_LINE = 400


def note_of(product: Product, names: Sequence[str]) -> str:
    """``names`` of what was shelved; then what was dropped with its figures, what could not be made, and notes."""
    return "\n".join([", ".join(names), *(_one_line(line) for line in _lines(product))])


def _lines(product: Product) -> Iterator[str]:
    for made in product.variants:
        if not made.is_kept:
            yield f"dropped: {made.manifest.name} ({figures_of(made.manifest)}): {made.dropped_reason}"
    for missing in product.not_made:
        yield f"not made: {missing.name}: {missing.reason}"
    for note in product.notes:
        yield f"note: {note}"


def figures_of(manifest: VariantManifest) -> str:
    """How good and how large, as measured on the host."""
    found = manifest.accuracy
    if found is None:
        quality = "not judged"
    elif found.value is not None:
        quality = f"{found.metric or 'metric'} {found.value:.4g}"
        if found.ci_low is not None and found.ci_high is not None:
            quality += f" [{found.ci_low:.4g}, {found.ci_high:.4g}]"
    elif found.agreement is not None:
        quality = f"agreement {found.agreement:.4g}"
    else:
        quality = "no figure"
    return f"{quality}, {manifest.artifact.size_bytes} bytes"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_LINE]
