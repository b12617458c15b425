"""Names at a broker: topics and principals, as both ends and the broker's access rules use them.

A principal is the common name of a certificate that the fleet's CA signed; the broker takes it for the user name and
the client id. Principals that are no devices begin with an underscore, which no device id does.
"""

from __future__ import annotations

CONTROLLER = "_controller"
JOINING_PREFIX = "_join-"  # and a token's id: who holds a join link and no identity yet
DOOR_PREFIX = "_door-"  # and a hash: a device whose certificate has run out
RESERVED_DEVICE_IDS = frozenset({"controller"})  # muster/1/<fleet>/controller/presence is the controller's


def topic_root(fleet_id: str) -> str:
    """What every topic of a fleet begins with."""
    return f"muster/1/{fleet_id}"
