"""Files by content: sha256, size in transit, and names that appear only when the bytes are complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from muster_protos.model import ArtifactRef

if TYPE_CHECKING:
    import numpy as np

_ZSTD_LEVEL = 3
_BLOCK_BYTES = 2**20


def ref_of(path: Path) -> ArtifactRef:
    """sha256 and size of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return ArtifactRef(digest.hexdigest(), size)


def transit_bytes(path: Path) -> int:
    """Size after zstd level 3: what a link that compresses would carry."""
    import zstandard

    return len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(path.read_bytes()))


def write_bytes(path: Path, payload: bytes) -> Path:
    """Write to a temporary name, fsync, rename: the name stands for complete bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """A compressed npz whose bytes depend on nothing but the arrays (numpy stamps entries with 1980)."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return write_bytes(path, buffer.getvalue())
