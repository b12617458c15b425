"""The Link port over MQTT. Being written: only the constructor stands."""

from __future__ import annotations

import random
from collections.abc import Callable

from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_protos.credentials import Credentials


class MqttLink:
    """The Link port. ``read_credentials`` is asked before every connection, so a renewed certificate is taken up."""

    name = "mqtt"

    def __init__(
        self,
        url: str,
        fleet_id: str,
        device_id: str,
        read_credentials: Callable[[], Credentials],
        timing: LinkTiming = LinkTiming(),  # noqa: B008 - frozen
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``url``: ``mqtts://HOST[:PORT]``; the broker's certificate must name HOST.

        Raises:
            InvalidInputError: not such a URL, or not ids.
        """
        raise NotImplementedError
