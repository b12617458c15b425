"""``muster-agent join LINK``."""

from __future__ import annotations

import argparse
import sys

from muster_agent.cli.device_inventory import DeviceInventory, RuntimeProof
from muster_agent.cli.state_folder import state_folder
from muster_agent.cli.waiting import Waiting
from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import check_name, default_device_id, join, usual_wish
from muster_protos.broker_names import RESERVED_DEVICE_IDS
from muster_protos.errors import UsageError, as_usage
from muster_protos.ids import check_id
from muster_protos.join_link import parse_any_join_link


def do(options: argparse.Namespace) -> int:
    """Join and say what to do next."""
    folder = state_folder(options.state)
    line = _with_secret(options.link, sys.stdin.readline().strip()) if options.secret_stdin else options.link
    link = parse_any_join_link(line)  # before anything takes time or leaves a trace
    if options.device_id:
        with as_usage():
            check_id(options.device_id, "device id")
    identities = IdentityFolder(folder.identity)
    check_name(link, identities, options.device_id)
    folder.create()
    with folder.locked(), Waiting() as waiting:
        wish = options.device_id or default_device_id(_host_name())
        inventory = DeviceInventory(wish, folder.root, proof=RuntimeProof(folder.runtimes))
        asked = options.device_id or usual_wish(identities)
        waiting("looking at this device and its runtimes")
        found = inventory()
        identity = join(line, identities, found, options.device_id, on_step=waiting)
    print(f"joined fleet {identity.fleet_id} as {identity.device_id}")
    if identity.device_id != asked:
        print(f"  id     {_why_not(asked)}, so this one is {identity.device_id}")
    print(f"  state  {folder.root}")
    print(f"  link   {', '.join(identity.links)}")
    where = f" --state {folder.root}" if options.state else ""
    print(f"  next   muster-agent run{where}")
    print(f"         muster-agent install --systemd{where}")
    return 0


def _why_not(asked: str) -> str:
    """Why the controller gave another id than the one that was asked for."""
    if asked in RESERVED_DEVICE_IDS:
        return f"{asked} is no name for a device"
    return f"{asked} is taken by another device"


def _with_secret(link: str, secret: str) -> str:
    """Put the secret from standard input into a link that has none: ``https://HOST:PORT#MST1.<fingerprint>``."""
    address, hash_sign, token = link.partition("#")
    parts = token.split(".")
    whole = 5 if link.startswith("mqtts:") else 3
    if not hash_sign or len(parts) not in (whole - 1, whole) or not secret:
        raise UsageError(
            "expected a join link without its secret, such as https://HOST:PORT#MST1.<fingerprint>, "
            "and one line with the secret on standard input"
        )
    rest = parts[1:] if len(parts) < whole else parts[2:]
    return f"{address}#{'.'.join((parts[0], secret, *rest))}"


def _host_name() -> str:
    import socket

    return socket.gethostname()
