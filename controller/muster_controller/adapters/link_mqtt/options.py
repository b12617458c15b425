"""How the MQTT end of the controller behaves: bounds and times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """A silent broker is gone after twice ``keepalive_s``; it finds this controller gone after 1.5 times."""

    keepalive_s: int = 10
    connect_timeout_s: float = 10.0
    retry_base_s: float = 0.2
    retry_cap_s: float = 5.0
    settle_s: float = 1.0  # a lost device may be back, or replaced by a twin, within this time
    gap_s: float = 10.0  # then a message of a session was lost on the way
    twin_retry_s: float = 30.0  # two agents with one identity shall not chase each other
    window_messages: int = 256  # published and not yet acknowledged by the broker
    batch_messages: int = 256
    outbox_messages: int = 8192  # then the session is closed as too slow; what is unacknowledged comes again
    unsent_blocks: int = 64  # of 64 KiB, read and not yet handed to the broker, over all devices
