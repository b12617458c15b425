"""What a child process may use."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Wall time ends in SIGKILL of the child's process group; CPU time in SIGXCPU; memory in a failed allocation.

    ``memory_bytes`` limits the address space (RLIMIT_AS). ONNX Runtime needs 512 MiB of it to import; CUDA reserves
    far more than it uses, so leave it ``None`` there and limit by cgroup.
    """

    wall_s: float = 900.0
    cpu_s: int | None = None
    memory_bytes: int | None = None
