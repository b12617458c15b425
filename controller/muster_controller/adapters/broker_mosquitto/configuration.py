"""The text of mosquitto.conf (mosquitto.conf(5), version 2.0)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_protos.errors import InvalidInputError
from muster_protos.limits import MAX_BROKER_PACKET_BYTES

CONFIGURATION = "mosquitto.conf"
ACL = "acl"
CA = "ca.pem"
CHAIN = "broker.pem"
KEY = "broker.key"
CRL = "crl.pem"
LOG = "mosquitto.log"


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps one peer from taking the memory of all."""

    packet_bytes: int = MAX_BROKER_PACKET_BYTES
    connections: int = 20_000
    inflight_messages: int = 200  # QoS 1 messages on their way to one peer; the controller is a peer too
    queued_messages: int = 100_000  # waiting for one peer, as the messages of all devices do for a busy controller
    queued_bytes: int = 256 * 1024 * 1024  # beyond it messages are dropped, and their devices send them again


def configuration_text(folder: Path, host: str, port: int, limits: Limits) -> str:
    """The configuration of a broker that keeps everything in ``folder``.

    Raises:
        InvalidInputError: the folder's name cannot be written into a configuration file.
    """
    if any(not letter.isprintable() for letter in str(folder)):
        raise InvalidInputError(f"expected a printable path for the broker's folder, found {str(folder)!r}")
    general = {
        "per_listener_settings": "false",
        "user": "root",  # counts for root alone: else it became "mosquitto", who cannot enter a private folder
        "acl_file": folder / ACL,
        "allow_anonymous": "false",
        "allow_zero_length_clientid": "false",
        "persistence": "true",
        "persistence_location": f"{folder}/",
        "autosave_interval": 30,
        "persistent_client_expiration": "7d",
        "sys_interval": 0,
        "max_packet_size": limits.packet_bytes,
        "max_inflight_messages": limits.inflight_messages,
        "max_queued_messages": limits.queued_messages,
        "max_queued_bytes": limits.queued_bytes,
        "queue_qos0_messages": "false",
        "set_tcp_nodelay": "true",
        "connection_messages": "false",
        "log_dest": f"file {folder / LOG}",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
    }
    listener = {
        "listener": f"{port} {host}",
        "max_connections": limits.connections,
        "cafile": folder / CA,
        "certfile": folder / CHAIN,
        "keyfile": folder / KEY,
        "crlfile": folder / CRL,
        "require_certificate": "true",
        "use_identity_as_username": "true",  # who a peer is comes from its certificate, whatever it says
        "use_username_as_clientid": "true",  # else a device could take another's client id and disconnect it
    }
    lines = [f"{name} {value}" for name, value in general.items()]
    lines += [f"log_type {kind}" for kind in ("error", "warning", "notice")]
    lines += [f"{name} {value}" for name, value in listener.items()]
    return "\n".join(("# Written by muster up at each start.", *lines)) + "\n"
