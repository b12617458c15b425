"""How many reports a controller takes in, each durably stored before it is acknowledged, and whether any is lost.

    python benchmarks/ingest.py -o json
    [{"link": "grpc", "reports_per_s": 0.0, "lost": 0, "doubled": 0, ...}]

The controller, its store (SQLite, WAL, synchronous=FULL), its broker, TLS and the session protocol are real; the
devices are **simulated at the level of sockets** in one process on the same machine. Each has at most 64 reports
(events with some details) on their way and says some of them twice, as an agent does that has lost an acknowledgement.
``reports_per_s``: from the first report to the last acknowledgement, doubles not counted.

Then the controller is killed (SIGKILL) and its database read: ``lost`` are acknowledged reports that are not in it, or
whose event is not; ``doubled`` those whose event is in the feed more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rig.controller import LINKS, Controller, RigError
from rig.identities import Identity, issue
from rig.machine import tell_machine
from rig.table import Row, say_rows
from simulated.device import SimulatedDevice
from simulated.fleet import SimulatedFleet

from muster_protos.model import Event, Report

_KIND = "child.crashed"
_DOUBLED = 0.05
_ONLINE_S = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=["json", "markdown"], default="markdown")
    parser.add_argument("--reports", type=int, default=50_000, help="for each link")
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--link", action="append", choices=LINKS, help="default: every link")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for each link")
    options = parser.parse_args()
    tell_machine("grpcio")
    rows: list[Row] = []
    for link in options.link or LINKS:
        print(f"{link}: {options.reports} reports of {options.devices} devices", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="muster-ingest-") as folder:
            try:
                rows.append(measure(Path(folder), link, options.devices, options.reports, options.timeout))
            except (RigError, TimeoutError) as error:
                print(f"ingest: {error or 'not everything was acknowledged in time'}", file=sys.stderr)
                return 1
    say_rows(rows, options.output)
    return 1 if any(row["lost"] or row["doubled"] for row in rows) else 0


def measure(folder: Path, link: str, devices: int, reports: int, timeout_s: float) -> Row:
    """One link; everything below ``folder``."""
    identities = issue(folder / "controller", devices)
    controller = Controller(folder / "controller", link == "mqtt", folder / "controller.log")
    controller.start()
    try:
        controller.wait_ready()
        took_s, repeated = asyncio.run(_send(controller, link, identities, reports // devices, timeout_s))
        controller.kill()
    finally:
        controller.stop()
    said = reports // devices * devices
    lost, doubled = count_in_store(
        controller.data / "fleet.sqlite3", [identity.device_id for identity in identities], reports // devices
    )
    return {
        "link": link,
        "reports_per_s": round(said / took_s, 1),
        "lost": lost,
        "doubled": doubled,
        "reports": said,
        "said_twice": repeated,
        "devices": devices,
        "devices_are": "simulated, sockets only",
    }


async def _send(
    controller: Controller, link: str, identities: Sequence[Identity], each: int, timeout_s: float
) -> tuple[float, int]:
    """(seconds until the last acknowledgement, how many were said twice)."""
    chance, repeated = random.Random(20), 0
    async with SimulatedFleet(link, controller.ports) as fleet:
        fleet.add(identities)
        fleet.begin()
        await fleet.until_online(len(identities), _ONLINE_S)
        done, left = asyncio.Event(), len(identities)

        def follow(device: SimulatedDevice) -> None:
            said, twice = 0, 0

            def more(_sequence: int = 0) -> None:
                """Keep a little more ready than may be under way."""
                nonlocal said, twice, left, repeated
                while said < each and device.open_reports < 80:
                    said += 1
                    device.report(_report(device.device_id, said))
                    if chance.random() < _DOUBLED:
                        twice = said
                if twice and device.repeat(twice):
                    repeated, twice = repeated + 1, 0
                if said == each and not device.open_reports and device.acknowledged == each:
                    left -= 1
                    if not left:
                        done.set()

            device.on_acknowledged = more
            more()

        began_s = time.monotonic()
        for device in fleet.devices:
            follow(device)
        async with asyncio.timeout(timeout_s):
            await done.wait()
        took_s = time.monotonic() - began_s
        if rejected := sum(device.rejected for device in fleet.devices):
            raise RigError(f"expected every report to be believed, found {rejected} rejected")
        return took_s, repeated


def _report(device_id: str, number: int) -> Report:
    details = {"model": "digits", "exit": "SIGSEGV", "uptime_s": str(number)}
    event_id = f"{device_id}-{number}"
    return Report("events", 1, number, Event(event_id, _KIND, time.time_ns(), reason="a benchmark", details=details))


def count_in_store(path: Path, device_ids: Sequence[str], each: int) -> tuple[int, int]:
    """(reports that are missing, reports whose event is there more than once); all of them were acknowledged."""
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT device_id, sequence FROM reports WHERE rejected_reason = ''"
        stored = set(database.execute(query).fetchall())
        query = "SELECT event_id, count(*) FROM events WHERE kind = ? GROUP BY event_id"
        events = Counter(dict(database.execute(query, (_KIND,)).fetchall()))
    said = [(device_id, number) for device_id in device_ids for number in range(1, each + 1)]
    names = {pair: f"{pair[0]}-{pair[1]}" for pair in said}
    lost = sum(pair not in stored or not events[names[pair]] for pair in said)
    return lost, sum(events[names[pair]] > 1 for pair in said)


if __name__ == "__main__":
    sys.exit(main())
