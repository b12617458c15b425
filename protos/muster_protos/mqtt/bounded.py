"""paho that takes no packet larger than any of ours; by itself it takes 256 MiB from whoever answers."""

from __future__ import annotations

from muster_protos.limits import MAX_BROKER_PACKET_BYTES
from muster_protos.mqtt.lean_paho import client as paho


class BoundedPaho(paho.Client):
    """A larger packet ends the connection before it is read."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_BROKER_PACKET_BYTES:
            raise ConnectionError(f"expected packets of at most {MAX_BROKER_PACKET_BYTES} bytes, found {bufsize}")
        return super()._sock_recv(bufsize)
