"""What mutual TLS needs of either end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM. ``ca`` is the only root that is trusted."""

    ca: bytes
    certificate: bytes
    key: bytes
