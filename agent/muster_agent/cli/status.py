"""``muster-agent status``: what this device serves and what is the matter with it, from its state folder alone."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass

from muster_agent.adapters.state_sqlite.database import open_reader
from muster_agent.adapters.state_sqlite.rows import SELECT_SERVING, record_from_row
from muster_agent.cli.doctor import FAILED, OK, agent_finding, disk_finding, link_finding, read_link, state_finding
from muster_agent.cli.probe import to_json
from muster_agent.cli.served_artifacts import missing_artifacts, read_active
from muster_agent.cli.state_folder import StateFolder, state_folder
from muster_agent.core.known import ServingRecord
from muster_agent.core.link_state import LinkState
from muster_agent.identity_folder import IdentityFolder
from muster_agent.serving_process import left_behind
from muster_protos import codec
from muster_protos.errors import NotFoundError, PermanentError
from muster_protos.model import DesiredState, SignedEnvelope


@dataclass(frozen=True, slots=True)
class Served:
    """One model on record."""

    model_id: str
    deployment_id: str
    state: str  # committed, activated or self_tested
    http_port: int
    grpc_port: int
    variant_id: str = ""  # that is active; "" without an agent, or while nothing is up
    orphan_pid: int | None = None  # without an agent: its process, which ends some seconds after the agent


@dataclass(frozen=True, slots=True)
class Status:
    """What the state folder says."""

    device_id: str
    fleet_id: str
    agent: str
    is_running: bool
    link: LinkState | None  # None: no agent runs, or it could leave no note
    desired_version: str
    waiting_reports: int
    serving: tuple[Served, ...]
    bad: dict[str, str]
    troubles: tuple[str, ...]


def do(options: argparse.Namespace) -> int:
    """Print it; 1 when something is the matter."""
    status = read_status(state_folder(options.state))
    print(to_json(asdict(status)) if options.output == "json" else "\n".join(_lines(status)))
    return 1 if status.troubles else 0


def read_status(folder: StateFolder) -> Status:
    """Reads only, so it works on a full or read-only disk and beside a running agent.

    Raises:
        NotFoundError: this device has not joined a fleet.
    """
    try:
        identity = IdentityFolder(folder.identity).read()
    except PermanentError as error:
        raise NotFoundError(str(error)) from error
    if identity is None:
        raise NotFoundError(
            f"expected a joined device, found no identity in {folder.identity}; join: muster-agent join"
        )
    agent = agent_finding(folder)
    findings = (agent, state_finding(folder), disk_finding(folder))
    troubles = tuple(f"{item.check}: {item.found}" for item in findings if item.verdict != OK)
    link = read_link(folder)
    standing = link_finding(link)
    if standing.verdict == FAILED:
        troubles = (f"{standing.check}: {standing.found}", *troubles)
    is_running = agent.verdict == OK
    desired, waiting, bad = "none yet", 0, {}
    records: tuple[ServingRecord, ...] = ()
    try:
        with closing(open_reader(folder.database)) as database:
            desired = _version(database.execute("SELECT envelope FROM desired").fetchone())
            (waiting,) = database.execute("SELECT count(*) FROM reports").fetchone()
            records = tuple(record_from_row(row) for row in database.execute(SELECT_SERVING).fetchall())
            bad = dict(database.execute("SELECT key, reason FROM bad ORDER BY key").fetchall())
    except (sqlite3.Error, PermanentError, ValueError) as error:
        if folder.database.exists() and not any(item.startswith("state") for item in troubles):
            troubles = (*troubles, f"state: {folder.database} cannot be read: {error}")
    active = read_active(folder) if is_running else {}
    troubles = (*troubles, *(item.text() for item in missing_artifacts(folder, records, active)))
    return Status(
        device_id=identity.device_id,
        fleet_id=identity.fleet_id,
        agent=agent.found,
        is_running=is_running,
        link=link,
        desired_version=desired,
        waiting_reports=waiting,
        serving=tuple(served for record in records for served in _served(record, folder, is_running, active)),
        bad=bad,
        troubles=troubles,
    )


def _version(row: tuple[bytes] | None) -> str:
    if row is None:
        return "none yet"
    state = codec.decode(DesiredState, codec.decode(SignedEnvelope, row[0]).payload)
    return f"{state.epoch}.{state.version}"


def _served(record: ServingRecord, folder: StateFolder, is_running: bool, active: dict[str, str]) -> Iterator[Served]:
    target = record.target
    if target is None:
        return
    state = "committed" if record.trial is None else "activated" if record.is_trial_active else "self_tested"
    orphan = None if is_running else _orphan(folder, record.model_id)
    variant_id = active.get(record.model_id, "")
    ports = (record.http_port, record.grpc_port)
    yield Served(record.model_id, target.deployment_id, state, *ports, variant_id, orphan)


def _orphan(folder: StateFolder, model_id: str) -> int | None:
    """The serving process that a killed agent has left, while it is still there."""
    try:
        return left_behind(folder.socket, model_id)
    except PermanentError:  # on a read-only disk: the folder for sockets is somebody else's
        return None


def _lines(status: Status) -> Iterator[str]:
    yield f"{status.device_id} of fleet {status.fleet_id}: the agent {status.agent}"
    standing = link_finding(status.link)
    if status.is_running and standing.verdict != FAILED:  # that is among the troubles
        yield f"link {standing.found}"
    yield f"desired state {status.desired_version}, {status.waiting_reports} reports wait to be acknowledged"
    for item in status.serving:
        ports = f"HTTP {item.http_port}, gRPC {item.grpc_port}"
        what = f"{item.model_id} by {item.deployment_id} ({item.state}) on {ports}"
        if status.is_running:
            yield f"serves {what} with {item.variant_id}" if item.variant_id else f"{what}: not up yet"
        elif item.orphan_pid is not None:
            yield f"served last {what}; pid {item.orphan_pid} still answers and ends within seconds without an agent"
        else:
            yield f"served last {what}; nothing runs"
    if not status.serving:
        yield "serves nothing"
    for key, reason in status.bad.items():
        yield f"bad: {key[:12]} {key.partition(' ')[2]}: {reason}"
    for trouble in status.troubles:
        yield f"trouble: {trouble}"
