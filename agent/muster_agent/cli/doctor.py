"""``muster-agent doctor``: what is wrong with this device, and what to do about each thing."""

from __future__ import annotations

import argparse
import os
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from muster_agent.adapters.link_note import read_link_note
from muster_agent.certificate import read_life
from muster_agent.cli.probe import to_json
from muster_agent.cli.served_artifacts import missing_artifacts, read_active, read_records
from muster_agent.cli.state_folder import StateFolder, is_read_only, state_folder
from muster_agent.core.link_state import LinkState, Standing
from muster_agent.core.renewal import URGENT_AT
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_protos.errors import InvalidInputError, PermanentError

OK, WARNING, FAILED, UNKNOWN = "ok", "warning", "failed", "unknown"
_MIB = 1 << 20
_LOW_DISK_BYTES = 200 * _MIB
_FULL_BYTES = 8 * _MIB  # what the agent leaves free for its state and logs
_EARLIEST_S = 1_735_689_600  # 2025-01-01: before it this software did not exist
_CONNECT_TIMEOUT_S = 5.0
_REFUSAL_TIMEOUT_S = 0.5
_PORTS = {"grpcs": 8471, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: str  # ok, warning, failed, unknown
    found: str
    fix: str = ""


def do(options: argparse.Namespace) -> int:
    """Print the findings; 1 when something failed."""
    folder = state_folder(options.state)
    findings = tuple(examine(folder, options.link))
    if options.output == "json":
        print(to_json([asdict(finding) for finding in findings]))
    else:
        print("\n".join(_lines(findings)))
    return 1 if any(finding.verdict == FAILED for finding in findings) else 0


def examine(folder: StateFolder, link: str = "") -> Iterator[Finding]:
    """Every check, in the order in which a person would go."""
    yield state_finding(folder)
    identity, finding = _identity(folder)
    yield finding
    yield _permissions(folder)
    yield from artifact_findings(folder)
    yield agent_finding(folder)
    yield link_finding(read_link(folder))
    yield disk_finding(folder)
    yield _clock(identity)
    yield from _controller(identity, folder, link)
    yield from _runtimes()
    yield from _sensors()


def state_finding(folder: StateFolder) -> Finding:
    """Whether the state can be read and written."""
    if not folder.root.is_dir():
        return Finding("state folder", WARNING, f"{folder.root} does not exist", "run: muster-agent join LINK")
    if is_read_only(folder.root):
        return Finding(
            "state folder",
            FAILED,
            f"{folder.root} lies on a read-only file system; the last good models are served, nothing new is begun",
            "look for disk errors (dmesg), then: mount -o remount,rw",
        )
    if not os.access(folder.root, os.W_OK | os.X_OK):
        return Finding(
            "state folder", FAILED, f"{folder.root} cannot be written", f"run: chown -R $(id -un) {folder.root}"
        )
    if not folder.database.exists():
        return Finding("state folder", OK, f"{folder.root}, no state yet")
    try:
        database = sqlite3.connect(f"file:{folder.database}?mode=ro", uri=True, timeout=2)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            waiting = database.execute("SELECT count(*) FROM reports").fetchone()[0]
        finally:
            database.close()
    except sqlite3.Error as error:
        return Finding(
            "state folder", FAILED, f"{folder.database}: {error}", "restart the agent: it rebuilds the state"
        )
    if verdict != "ok":
        return Finding(
            "state folder", FAILED, f"{folder.database}: {verdict}", "restart the agent: it rebuilds the state"
        )
    return Finding("state folder", OK, f"{folder.root}, {waiting} reports wait to be acknowledged")


def _identity(folder: StateFolder) -> tuple[Identity | None, Finding]:
    try:
        identity = IdentityFolder(folder.identity).read()
    except PermanentError as error:
        return None, Finding("identity", FAILED, str(error), "run: muster-agent join LINK")
    except OSError as error:
        return None, Finding("identity", FAILED, str(error), "run the doctor as the agent's user")
    if identity is None:
        return None, Finding(
            "identity",
            FAILED,
            "this device has not joined a fleet",
            "on the controller: muster token new; here: muster-agent join LINK",
        )
    return identity, Finding("identity", OK, f"{identity.device_id} of fleet {identity.fleet_id}")


def _permissions(folder: StateFolder) -> Finding:
    loose = [
        path
        for path in (folder.root, folder.identity, folder.identity / "key.pem", folder.database)
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if loose:
        names = " ".join(str(path) for path in loose)
        return Finding("permissions", WARNING, f"others may read {names}", f"run: chmod go-rwx {names}")
    if not (folder.identity / "key.pem").exists():
        found = "there is no identity whose key could be open to others; on the controller: muster token new, here: "
        return Finding("permissions", UNKNOWN, f"{found}muster-agent join LINK")
    return Finding("permissions", OK, "key and state are private")


def artifact_findings(folder: StateFolder) -> Iterator[Finding]:
    """What the served deployments lack on the disk."""
    try:
        records = read_records(folder)
    except (sqlite3.Error, PermanentError, ValueError):
        return  # the state folder's finding says it, or there is no state yet
    if not any(record.target for record in records):
        return
    missing = tuple(missing_artifacts(folder, records, read_active(folder)))
    for item in missing:
        fix = "let the agent reach the controller: it fetches the bytes again; if it happens again, replace the disk"
        yield Finding("artifacts", FAILED, item.text(), fix)
    if not missing:
        yield Finding("artifacts", OK, "all that is served lies on the disk")


def agent_finding(folder: StateFolder) -> Finding:
    """Whether an agent runs on the folder."""
    holder = folder.holder()
    if holder is not None:
        return Finding("agent", OK, f"runs with pid {holder}" if holder else "runs")
    return Finding("agent", WARNING, "does not run", "run: muster-agent run, or muster-agent install --systemd --write")


def read_link(folder: StateFolder) -> LinkState | None:
    """How the running agent stands with its controller; None when none runs, or it could leave no note."""
    holder = folder.holder()
    if holder is None:
        return None
    return read_link_note(folder.note_folders(), lambda pid: str(pid) == holder or Path(f"/proc/{pid}").exists())


def link_finding(state: LinkState | None) -> Finding:
    """Whether the controller and this device know each other."""
    if state is None:
        return Finding("link", UNKNOWN, "not known without a running agent")
    since = f"since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(state.since_ns / 1e9))}"
    join_again = "stop the agent; on the controller: muster token new; here: muster-agent join LINK, muster-agent run"
    match state.standing:
        case Standing.ONLINE:
            return Finding("link", OK, f"online by {state.link} {since}")
        case Standing.OFFLINE:
            fix = "is muster up running there? the agent goes on serving and comes back by itself"
            return Finding("link", WARNING, f"offline {since}: {state.reason}", fix)
        case Standing.REFUSED:
            return Finding("link", FAILED, f"refused by the controller {since}: {state.reason}", join_again)
        case Standing.REMOVED:
            found = f"removed from the fleet {since}: {state.reason}; serving goes on, join again to be managed"
            return Finding("link", FAILED, found, join_again)


def disk_finding(folder: StateFolder) -> Finding:
    """How much room there is."""
    base = next((path for path in (folder.root, *folder.root.parents) if path.exists()), Path("/"))
    status = os.statvfs(base)
    free = status.f_bavail * status.f_frsize
    if free < _FULL_BYTES:
        found = f"full: {free >> 10} KiB free at {base}; serving goes on, nothing new is fetched"
        return Finding("disk", FAILED, found, "free some space, or move --state")
    if free < _LOW_DISK_BYTES:
        return Finding("disk", WARNING, f"{free // _MIB} MiB free at {base}", "free some space, or move --state")
    return Finding("disk", OK, f"{free // _MIB} MiB free at {base}")


def _clock(identity: Identity | None) -> Finding:
    now_s = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    try:
        life = read_life(identity.certificate_pem) if identity is not None else None
    except InvalidInputError:
        return Finding("certificate", FAILED, "is damaged", "run: muster-agent join LINK")
    if now_s < _EARLIEST_S or (life is not None and now_s * 1e9 < life.begins_ns):
        found = f"says {stamp}, which is past; the agent takes the time from the controller, logs here bear this one"
        return Finding("clock", WARNING, found, "run: timedatectl set-ntp true")
    if life is None:
        return Finding("clock", OK, f"says {stamp}")
    left_s = life.ends_ns / 1e9 - now_s
    if left_s < 0:
        fix = "let the agent reach the controller: it renews for 90 days (muster up --grace); later, join again"
        return Finding("certificate", FAILED, f"ended {-left_s / 86_400:.0f} days ago, or the clock is ahead", fix)
    if now_s * 1e9 > life.at_ns(URGENT_AT):
        return Finding("certificate", WARNING, f"ends in {left_s / 3600:.0f} h", "let the agent reach the controller")
    return Finding("clock", OK, f"says {stamp}; the certificate is good for {left_s / 86_400:.0f} days")


def _controller(identity: Identity | None, folder: StateFolder, link: str) -> Iterator[Finding]:
    if identity is None:
        return
    for url in (link,) if link else identity.links:
        yield _reach(identity, folder, url)


def _reach(identity: Identity, folder: StateFolder, url: str) -> Finding:
    """Open a TLS connection with the device's own certificate, as the link does."""
    name = f"controller {url}"
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        fix = "expected grpcs://HOST:PORT or mqtts://HOST:PORT"
        return Finding(name, UNKNOWN, "not a link that this doctor can try", fix)
    is_broker = parts.scheme == "mqtts"
    ca_pem = identity.broker_ca_pem if is_broker and identity.broker_ca_pem else identity.ca_pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem.decode())
    if not is_broker:
        context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(folder.identity / "cert.pem", folder.identity / "key.pem")
        began_s = time.monotonic()
        with (
            socket.create_connection(
                (parts.hostname, parts.port or _PORTS[parts.scheme]), _CONNECT_TIMEOUT_S
            ) as stream,
            context.wrap_socket(stream, server_hostname=parts.hostname) as secure,
        ):
            secure.do_handshake()
            took_ms = (time.monotonic() - began_s) * 1000
            if is_broker:
                _await_refusal(secure)
    except ssl.SSLCertVerificationError as error:
        return Finding(name, FAILED, f"its certificate is not the fleet's: {error.verify_message}", "join again")
    except (OSError, ssl.SSLError) as error:
        fix = "is muster up running there, and is the port open? serving goes on meanwhile"
        return Finding(name, FAILED, f"cannot be reached: {error}", fix)
    return Finding(name, OK, f"answers in {took_ms:.0f} ms")


def _await_refusal(secure: ssl.SSLSocket) -> None:
    """Under TLS 1.3 a certificate is refused after the handshake. No MQTT is spoken: it would end the agent's session.

    Raises:
        OSError: the broker refused the certificate, or hung up.
    """
    secure.settimeout(_REFUSAL_TIMEOUT_S)
    with suppress(TimeoutError):
        if not secure.recv(1):
            raise ConnectionResetError("it closed the connection; is this device's certificate expired or revoked?")


def _runtimes() -> Iterator[Finding]:
    from muster_bench.probe_runtimes import probe_runtimes

    found = probe_runtimes()
    extras = {"onnxruntime": "ort", "litert": "litert"}
    for runtime in found:
        if runtime.providers:
            yield Finding(
                f"runtime {runtime.name}", OK, f"{runtime.version} infers with {', '.join(runtime.providers)}"
            )
        else:
            verdict = WARNING if any(other.providers for other in found) else FAILED
            fix = f"run: pip install 'muster-edge[{extras.get(runtime.name, 'all')}]'"
            yield Finding(f"runtime {runtime.name}", verdict, runtime.unavailable_reason, fix)


def _sensors() -> Iterator[Finding]:
    from muster_devices.sensors.survey import survey

    for sensor in survey():
        if sensor.unavailable_reason:
            fix = "nothing to do: figures that need it are left out"
            yield Finding(f"sensor {sensor.kind}", UNKNOWN, sensor.unavailable_reason, fix)
        else:
            yield Finding(f"sensor {sensor.kind}", OK, sensor.name)


def _lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    signs = {OK: "ok  ", WARNING: "warn", FAILED: "FAIL", UNKNOWN: "-   "}
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{signs[finding.verdict]}  {finding.check:<{width}}  {finding.found}"
        if finding.fix and finding.verdict in (WARNING, FAILED):
            yield f"      {'':<{width}}  fix: {finding.fix}"
