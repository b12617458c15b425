"""Which addresses may be listened on, and which one the local network knows us by."""

from __future__ import annotations

import ipaddress
import socket

from muster_protos.errors import UsageError

_TEST_NET = ("192.0.2.1", 9)  # RFC 5737; a UDP connect sends nothing, it only picks the outgoing address


def check_host(host: str, is_tls: bool) -> None:
    """UsageError when ``host`` would carry the admin token over a network without TLS."""
    if is_tls or is_loopback(host):
        return
    raise UsageError(f"expected a loopback address for plain HTTP, found {host}; use --lan, which serves REST with TLS")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def lan_address() -> str:
    """This machine's address in its local network; the loopback address when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_TEST_NET)
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
