"""``muster-agent install --systemd``: a unit that starts the agent with the machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from muster_agent.cli.state_folder import StateFolder, state_folder
from muster_protos.errors import PermanentError

_NAME = "muster-agent.service"


def do(options: argparse.Namespace) -> int:
    """Print the unit, or write it and say how to start it."""
    is_system = os.geteuid() == 0
    folder = state_folder(options.state)
    text = unit(folder, sys.executable, is_system)
    if not options.write:
        print(text, end="")
        return 0
    path = unit_path(is_system)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise PermanentError(f"expected to write {path}, found: {error.strerror}") from error
    systemctl = "systemctl" if is_system else "systemctl --user"
    print(f"wrote {path}")
    print(f"  start  {systemctl} daemon-reload && {systemctl} enable --now {_NAME}")
    if not is_system:
        print("  boot   loginctl enable-linger   (so that it runs without a login)")
    return 0


def unit(folder: StateFolder, python: str, is_system: bool) -> str:
    """The text of the unit."""
    target = "multi-user.target" if is_system else "default.target"
    return f"""[Unit]
Description=Muster agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={_quoted(python)} -m muster_agent run --state {_quoted(str(folder.root))}
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=20
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy={target}
"""


def unit_path(is_system: bool) -> Path:
    """Where systemd looks for it."""
    if is_system:
        return Path("/etc/systemd/system") / _NAME
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user" / _NAME


def _quoted(text: str) -> str:
    """As a word of a unit file; ``%`` starts a specifier there."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(letter in escaped for letter in ' "\\') else escaped
