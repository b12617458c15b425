"""What can go wrong when channels are taken out of a module."""

from __future__ import annotations

from muster_compression.passes.port import PassError


class PruningError(PassError):
    """The module, or the part of it that was meant, cannot be pruned."""
