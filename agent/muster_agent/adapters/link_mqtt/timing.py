"""How patient the MQTT link is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """A silent broker is gone after ``keepalive_time_s`` + ``keepalive_timeout_s``."""

    keepalive_time_s: float = 20.0
    keepalive_timeout_s: float = 10.0
    connect_timeout_s: float = 15.0  # for the broker's answer, and again for the controller's
    block_timeout_s: float = 15.0  # then blocks that have not come are asked for again; one takes 8 s at 64 kbit/s
    stall_timeout_s: float = 45.0  # a fetch without a block for so long is broken
    renew_timeout_s: float = 30.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    removal_rest_s: float = 600.0  # after a goodbye that says, without proof, that the device was removed
