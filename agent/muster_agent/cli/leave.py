"""``muster-agent leave``: forget the fleet."""

from __future__ import annotations

import argparse
import shutil
import sys

from muster_agent.cli.state_folder import StateFolder, state_folder
from muster_agent.identity_folder import IdentityFolder
from muster_protos.errors import NotFoundError, PermanentError, UsageError


def do(options: argparse.Namespace) -> int:
    """Remove identity, state and artifacts; the agent must not run."""
    folder = state_folder(options.state)
    identities = IdentityFolder(folder.identity)
    if not folder.root.is_dir() or not identities.key_path.exists():
        raise NotFoundError(f"expected a joined device, found no identity in {folder.identity}")
    device_id = _device_id(identities)
    if not options.yes:
        _confirm(f"forget the fleet, its artifacts and the key of {device_id} in {folder.root}?")
    with folder.locked():
        identities.remove()
        _remove_state(folder)
    print(f"{device_id} has left; on the controller, run: muster device rm {device_id}")
    return 0


def _device_id(identities: IdentityFolder) -> str:
    try:
        identity = identities.read()
    except PermanentError:
        identity = None  # damaged: all the more reason to leave
    return identity.device_id if identity else "this device"


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("expected --yes where nobody can be asked")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt


def _remove_state(folder: StateFolder) -> None:
    for name in ("artifacts", "partial", "quarantine", "identity"):
        shutil.rmtree(folder.root / name, ignore_errors=True)
    for path in (
        *folder.root.glob("agent.sqlite3*"),
        *folder.root.glob("serving*"),
        *folder.root.glob("*.copy"),
        *folder.root.glob("*.proof"),
        *folder.root.glob("*.note"),
    ):
        path.unlink(missing_ok=True)
