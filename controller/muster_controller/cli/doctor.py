"""muster doctor: what is wrong on the controller's side, each with a line that fixes it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import typer

from muster.settings import ADMIN_TOKEN, ENDPOINTS
from muster_controller.cli.options import Output, chosen, data_folder, fleet, settings
from muster_controller.cli.output import emit
from muster_protos.errors import MissingExtraError, MusterError

COLUMNS = {"CHECK": "check", "OK": "is_ok", "FOUND": "found", "FIX": "fix"}
_LOW_DISK_BYTES = 2 * 2**30
_MAX_SKEW_S = 60.0
_EXTRAS = {
    "onnxruntime": "pip install 'muster-edge[ort]'",
    "ai_edge_litert": "pip install 'muster-edge[litert]'",
    "torch": "pip install 'muster-edge[compress]'",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    check: str
    is_ok: bool
    found: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(output: Output = None) -> None:
    """Look for what commonly goes wrong. Exit 1 when something is."""
    checks = [*_host_checks(data_folder()), *_controller_checks()]
    emit([asdict(check) | ({"fix": ""} if check.is_ok else {}) for check in checks], chosen(output), COLUMNS)
    if not all(check.is_ok for check in checks):
        raise typer.Exit(1)


def _host_checks(folder: Path) -> Iterator[Check]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    yield Check("disk", free > _LOW_DISK_BYTES, f"{free / 2**30:.1f} GiB free at {existing}", "free some space")
    is_writable = os.access(existing, os.W_OK)
    yield Check("data folder", is_writable, str(folder), f"make {existing} writable, or use --data")
    token = folder / ADMIN_TOKEN
    if token.exists():
        mode = token.stat().st_mode & 0o777
        yield Check("admin token", mode == 0o600, f"mode {mode:o}", f"chmod 600 {token}")
    yield _mosquitto()
    for module, fix in _EXTRAS.items():
        is_there = importlib.util.find_spec(module) is not None
        yield Check(module, is_there, "installed" if is_there else "missing", "" if is_there else fix)


def _mosquitto() -> Check:
    """Nothing is wrong without it, as long as nobody asks for a broker."""
    from muster_controller.adapters.broker_mosquitto import INSTALL, find_mosquitto  # every command imports this file

    try:
        return Check("mosquitto", True, find_mosquitto())
    except MissingExtraError:
        return Check("mosquitto", True, f"missing; only muster up --mqtt needs it: {INSTALL}")


def _controller_checks() -> Iterator[Check]:
    url = settings()["url"].value
    try:
        with fleet() as found:
            summary = found.status()
    except MusterError as error:
        yield Check("controller", False, str(error), "muster up")
        yield _port(url)
        return
    yield Check("controller", True, f"{summary['name']} {summary['version']} at {url}")
    yield Check("devices", True, f"{summary['online']} of {summary['devices']} online")
    skew_s = summary["worst_clock_skew_s"]
    text = "no device has said hello yet" if skew_s is None else f"{skew_s:.1f} s ({summary['worst_clock_device_id']})"
    yield Check("clock skew", (skew_s or 0.0) < _MAX_SKEW_S, text, "set the device's clock (NTP)")
    yield _clones(list(summary.get("cloned_device_ids", [])))
    yield from _endpoint_ports(data_folder() / ENDPOINTS)
    if summary["broker"]:
        yield _broker(str(summary["broker"]), str(summary["broker_problem"]))


def _broker(url: str, problem: str) -> Check:
    """What the controller says of its broker. One that it did not start was probed before it was used."""
    fix = f"start the broker again; with muster up --mqtt alone see {data_folder() / 'broker' / 'mosquitto.log'}"
    return Check(
        "broker", not problem, f"{url}: {problem}" if problem else f"the controller is connected to {url}", fix
    )


def _clones(device_ids: list[str]) -> Check:
    fix = "a state folder was copied: muster device rm, then let each join by itself (muster-agent leave, join)"
    return Check(
        "identities",
        not device_ids,
        f"used by two agents: {', '.join(device_ids)}" if device_ids else "each is used by one agent",
        fix,
    )


def _endpoint_ports(path: Path) -> Iterator[Check]:
    try:
        endpoints = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    for name in ("grpc", "join", "mqtt"):
        if name in endpoints:
            yield _port(str(endpoints[name]), name)


def _port(url: str, name: str = "port") -> Check:
    parts = urlsplit(url)
    where = (parts.hostname or "127.0.0.1", parts.port or 0)
    started = time.monotonic()
    try:
        with socket.create_connection(where, timeout=2):
            return Check(name, True, f"{where[0]}:{where[1]} answers in {1000 * (time.monotonic() - started):.1f} ms")
    except OSError as error:
        return Check(name, False, f"{where[0]}:{where[1]}: {error.strerror or error}", "muster up")
