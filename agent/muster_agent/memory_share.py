"""How much of this device's memory a child may have when nobody has said: so much that the device itself lives on."""

from __future__ import annotations

from pathlib import Path

from muster_devices.facts import accelerator, usable_ram_bytes

MEMORY_SHARE = 0.75  # of the RAM that this process may use
FLOOR_BYTES = 512 << 20  # a runtime does not start in less
_GPU_PROVIDERS = frozenset(("cuda", "tensorrt"))


def memory_share_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that one child may have; None when the device does not tell how much memory there is."""
    ram_bytes = usable_ram_bytes(root)
    return None if ram_bytes is None else max(int(MEMORY_SHARE * ram_bytes), FLOOR_BYTES)


def reserves_freely(provider: str) -> bool:
    """Whether a provider takes far more address space than memory, so that no resource limit fits it."""
    return provider in _GPU_PROVIDERS


def may_reserve_freely(root: Path = Path("/")) -> bool:
    """The same of a process whose provider is not known yet: it may where CUDA may run."""
    return "nvidia" in accelerator(root).lower()
