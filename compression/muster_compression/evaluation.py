"""The samples that judge an imported model and its variants, as the import wrote them down."""

from __future__ import annotations

from muster_bench.dataset import columns, load_arrays
from muster_compression.dataset.splits import Array, Split
from muster_compression.orders import Parent


def evaluation_samples(parent: Parent) -> tuple[Split, dict[str, Array]]:
    """Inputs and labels in canonical tensors, and the baseline's answers by output name."""
    assert parent.evaluation_path is not None
    arrays = load_arrays(parent.evaluation_path)
    signature = parent.manifest.signature
    samples = Split(columns(arrays, "x_", signature.inputs), arrays.get("y"))
    return samples, columns(arrays, "ref_", signature.outputs)
