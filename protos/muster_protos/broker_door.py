"""What both ends of a renewal over a broker agree on: who asks, and where.

A device whose certificate has run out is let in by no broker. At its join it got a second certificate for the same key,
without end, for a name of its own; with it, it may ask for a renewal, and nothing else.
"""

from __future__ import annotations

import hashlib

from muster_protos.broker_names import DOOR_PREFIX, topic_root

NONCE_BYTES = 16
REMOVED = "removed"  # kind of a refusal


def door_name(device_id: str) -> str:
    """Who the device is at the broker while it asks."""
    return DOOR_PREFIX + hashlib.sha256(b"muster door name\0" + device_id.encode()).hexdigest()[:24]


def door_ask_topic(fleet_id: str, name: str) -> str:
    return f"{topic_root(fleet_id)}/{name}/up/door"


def door_answer_topic(fleet_id: str, name: str) -> str:
    return f"{topic_root(fleet_id)}/{name}/down/opened"
