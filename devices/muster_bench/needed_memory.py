"""How much memory a run takes at the very least; less than that free, and it would only end in a killed process."""

from __future__ import annotations

from pathlib import Path

RUNTIME_BYTES = 64 << 20
COPIES = 3


def needed_bytes(artifact: Path) -> int:
    """64 MiB for Python, numpy and the runtime, and three times the artifact.

    Measured with ONNX Runtime 1.31 on x86-64: 55 MiB resident after the import, and a peak 3.1 times the file above it
    for a 95 MiB matrix (the file's bytes, the parsed graph, the packed weights). It is a lower bound: activations
    and the evaluation set come on top, and a graph may fill tensors that its file does not hold.
    """
    try:
        return RUNTIME_BYTES + COPIES * artifact.stat().st_size
    except OSError:
        return RUNTIME_BYTES  # the child says what is wrong with the file
