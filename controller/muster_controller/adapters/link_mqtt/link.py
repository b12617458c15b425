"""The controller at a broker. Being written: only the constructor stands."""

from __future__ import annotations

from collections.abc import Callable

from muster_controller.adapters.link_mqtt.options import LinkOptions
from muster_controller.ports import Authenticator, SessionSink
from muster_protos.credentials import Credentials


class MqttLink:
    """One connection to a broker; sessions of all devices over it. Reconnects and announces itself by itself."""

    def __init__(
        self,
        sink: SessionSink,
        authenticator: Authenticator,
        fleet_id: str,
        host: str,
        port: int,
        read_credentials: Callable[[], Credentials],
        options: LinkOptions = LinkOptions(),  # noqa: B008 - frozen
    ) -> None:
        """``read_credentials``: the controller's own certificate at the broker, asked before every connection."""
        raise NotImplementedError

    async def start(self) -> None:
        """Connect and announce this controller; later the link reconnects by itself.

        Raises:
            UnreachableError: no broker answers there.
            PermanentError: it refuses this controller, or is not the broker of this fleet.
        """
        raise NotImplementedError

    async def stop(self, grace_s: float = 2.0) -> None:
        """Say goodbye to every device, wait up to ``grace_s`` seconds, leave the broker. Safe to call twice."""
        raise NotImplementedError

    def forget(self, device_id: str) -> None:
        """Clear what the broker retains of a removed device. From any thread; also while it is offline."""
        raise NotImplementedError
