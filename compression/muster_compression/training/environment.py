"""What torch keeps for the whole process, set for one training and put back afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

_BFLOAT16_FLAGS = frozenset(("avx512_bf16", "amx_bf16", "bf16"))


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """A number of threads and deterministic kernels; the random state of the caller comes back afterwards."""
    before, was_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(was_strict)
        torch.set_num_threads(before)


def has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; elsewhere it is emulated and slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    lines = (line for line in text.splitlines() if line.lower().startswith(("flags", "features")))
    return not _BFLOAT16_FLAGS.isdisjoint(next(lines, "").partition(":")[2].split())
