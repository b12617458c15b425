"""What `muster up` says once it runs, with the next lines to paste. On standard error: it is no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muster_controller.cli.output import err
from muster_controller.service.service import Service
from muster_controller.service.tokens import NewToken
from muster_controller.service.version import product_version


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is worth saying."""

    service: Service
    data: Path
    endpoints: Mapping[str, str]
    token: NewToken
    is_lan: bool
    device: str


def say_welcome(welcome: Welcome) -> None:
    """Print the block."""
    status = welcome.service.fleets.status(product_version())
    endpoints = welcome.endpoints
    lines = [
        f'muster {status.version} · fleet "{status.name}" · data {_short(welcome.data)}',
        f"✓ store      sqlite ({_counted(status.models, 'model')}, {_counted(status.devices, 'device')})",
        f"✓ links      {endpoints['grpc']}   {endpoints.get('mqtt', 'mqtt: off (muster up --mqtt)')}",
        f"✓ REST       {endpoints['url']}   (described by {endpoints['url']}/v1/openapi.json)",
        f"{'✓' if 'joined' in welcome.device else '-'} device     {welcome.device}",
        "",
        "Next steps",
        f"  add a device       muster-agent join '{welcome.token.link}'",
    ]
    if welcome.token.broker_link:
        lines.append(f"  or by the broker   muster-agent join '{welcome.token.broker_link}'")
    if not welcome.is_lan:
        lines.append("  open to the LAN    muster up --lan")
    lines += [
        "  add a model        muster model add examples/digits.py:make --name digits --data builtin:digits",
        "  watch              muster watch",
        "  stop               Ctrl-C   (this controller and the agent it started; other agents keep serving)",
    ]
    err().print("\n".join(f"  {line}" for line in lines), markup=False)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _short(path: Path) -> str:
    """With ~ for the home folder."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
