"""One controller, one agent with its serving child, all real processes, and a witness of the invariants."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import random
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import muster
from muster_agent.adapters.state_sqlite.rows import SELECT_SERVING, record_from_row
from muster_controller.adapters.identity_x509 import open_authority
from muster_protos import codec
from muster_protos.errors import MusterError
from muster_protos.model import DesiredState, SignedEnvelope

HERE = Path(__file__).parent
SOURCES = ("agent/muster_agent", "controller/muster_controller", "devices")
DEVICE = "pi"
ROWS = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)
POLICY = "constraints: {p95_ms: {max: 60000}}\nobjective: latency\n"
PADDING_BYTES = 700_000  # three chunks
BRIEF = 900_000  # seed of the model that is served only for a moment
LEFTOVERS = 400  # temporary files that may lie about in all folders together
_AUDIT = """
CREATE TABLE IF NOT EXISTS audit (
    sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL, is_acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE TRIGGER IF NOT EXISTS audit_queued AFTER INSERT ON reports
    BEGIN INSERT INTO audit (sequence, payload) VALUES (new.sequence, new.payload); END;
CREATE TRIGGER IF NOT EXISTS audit_acknowledged AFTER DELETE ON reports
    BEGIN UPDATE audit SET is_acknowledged = 1 WHERE sequence = old.sequence; END;
"""


def load_zygote() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zygote", HERE / "zygote.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zygote = load_zygote()


def points() -> tuple[str, ...]:
    """Every fail-point that the product's source names."""
    root = HERE.parents[2]
    found: set[str] = set()
    for folder in SOURCES:
        for path in (root / folder).rglob("*.py"):
            found.update(re.findall(r'\bhit\("([^"]+)"\)', path.read_text()))
    return tuple(sorted(found))


class Zygote:
    """Forks warm processes; see zygote.py."""

    def __init__(self, kind: str, log: Path) -> None:
        self._log = log
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._ask(b"") == "ready"

    def start(self, argv: list[str], environment: dict[str, str]) -> Forked:
        order = {"argv": argv, "env": environment, "log": str(self._log)}
        return Forked(int(self._ask(json.dumps(order).encode() + b"\n")))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, line: bytes) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()


class Forked:
    """A process that somebody else reaps."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        if self._descriptor < 0:
            return True
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        if ready:
            os.close(self._descriptor)
            self._descriptor = -1
        return bool(ready)

    def signal(self, number: int) -> None:
        if not self.has_ended():
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.has_ended(10)


@dataclass
class Rig:
    """Everything of one fleet, below one folder."""

    folder: Path
    seed: int
    histogram: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)  # variant id -> seed of its weights
    rotted: set[str] = field(default_factory=set)  # sha256 of what the test damaged
    newest: tuple[int, int] = (0, 0)
    other: bytes = b""  # the signed desired state of the device that nobody touches
    ports: tuple[str, str, str] = ("0", "0", "0")
    serial: int = 0
    audited: int = 0
    healed: int = 0  # served again only once the controller was back, because the test had damaged its copy
    controller: Forked | None = None
    agent: Forked | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.data, self.state = self.folder / "data", self.folder / "state"
        self.data.mkdir(parents=True)
        self.armed, self.log = self.folder / "armed", self.folder / "points.log"
        self.log.touch()
        self.agents = Zygote("agent", self.folder / "agent.log")
        self.controllers = Zygote("controller", self.folder / "controller.log")

    # ---- processes ----

    @property
    def environment(self) -> dict[str, str]:
        return {"MUSTER_FAILPOINT_LOG": str(self.log), "MUSTER_FAILPOINT_KILL": str(self.armed)}

    def start_controller(self) -> None:
        if self.controller is not None and not self.controller.has_ended():
            return
        endpoints = self.data / "endpoints.json"
        endpoints.unlink(missing_ok=True)
        self.controller = self.controllers.start([str(self.data), *self.ports], self.environment)
        deadline_s = time.monotonic() + 60
        while not endpoints.exists():
            if self.controller.has_ended(0.02):
                return  # it died at an armed point; the next round starts it again
            assert time.monotonic() < deadline_s, "the controller does not come up"
        found = json.loads(endpoints.read_text())
        self.ports = tuple(found[name].rpartition(":")[2] for name in ("url", "grpc", "join"))  # type: ignore[assignment]

    def start_agent(self) -> None:
        if self.agent is not None and not self.agent.has_ended():
            return
        argv = ["run", "--state", str(self.state), "--link", f"grpcs://127.0.0.1:{self.ports[1]}"]
        self.agent = self.agents.start([*argv, "--no-cgroup", "--log-level", "info"], self.environment)

    def serving_pids(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = path.read_bytes()
                if b"muster_agent.serving\0" in command and str(self.state).encode() in command:
                    found.append(int(path.parent.name))
        return found

    def kill_serving(self) -> list[int]:
        """Every serving child; their pids."""
        pids = self.serving_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def close(self) -> None:
        for process in (self.agent, self.controller):
            if process is not None:
                process.kill()
        self.kill_serving()
        self.agents.close()
        self.controllers.close()

    # ---- a fleet that has something to do ----

    def fleet(self) -> muster.Fleet:
        return muster.connect(data=self.data)

    def source(self, seed: int, golden_error: float = 0.0) -> Path:
        path = self.folder / "source.txt"
        path.write_text(f"seed {seed} {PADDING_BYTES} {golden_error}")
        return path

    def prologue(self) -> None:
        """Joined, one model measured and served; nothing is killed yet."""
        self.start_controller()
        with self.fleet() as fleet:
            link = str(fleet.new_token(uses=1000)["link"])
            other = str(fleet.new_token()["link"])
        for state, name, line in ((self.state, DEVICE, link), (self.folder / "other", "other", other)):
            joined = self.agents.start(["join", line, "--state", str(state), "--id", name], {})
            assert joined.has_ended(60)
        self.link = link
        self.start_agent()
        with self.fleet() as fleet:
            model = fleet.models.register(self.source(0), "net")
            self.published["net.v1.fp32"] = 0
            fleet.push(model, devices=["other"])
            run = fleet.bench(model, devices=[DEVICE], tier="demo", threads=[1])
            run.result(timeout_s=120)
            fleet.select(model, policy=POLICY, devices=[DEVICE]).rollout().wait(timeout_s=120)
            for name, error in (("brief", 0.0), ("bad", 1.0)):
                made = fleet.models.register(self.source(BRIEF, error), name)
                fleet.bench(made, devices=[DEVICE], tier="demo", threads=[1]).result(timeout_s=120)
                fleet.select(made, policy=POLICY, devices=[DEVICE])
        self.audit()
        self.other = self._desired_of("other")
        self.check()

    def audit(self) -> None:
        """Have the agent's database keep a list of what was queued and acknowledged, in the same transactions."""
        with contextlib.closing(sqlite3.connect(self.state / "agent.sqlite3", timeout=20)) as database:
            database.executescript(_AUDIT)

    def work(self, kind: str) -> None:
        """Ask for something; whoever is asked may die meanwhile."""
        self.serial += 1
        try:
            with self.fleet() as fleet:
                getattr(self, f"_work_{kind}")(fleet)
        except (MusterError, OSError):
            return

    def _work_roll(self, fleet: muster.Fleet) -> None:
        fleet.rollout("net", devices=[DEVICE])

    def _work_back(self, fleet: muster.Fleet) -> None:
        """A model whose self-test fails is rolled back."""
        fleet.rollout("bad", devices=[DEVICE])

    def _work_revive(self, fleet: muster.Fleet) -> None:
        """The agent has a serving child to start."""
        self.histogram["at random: serving"] += len(self.kill_serving())

    def _work_restart(self, fleet: muster.Fleet) -> None:
        """The controller has something to recover."""
        if self.controller is not None:
            self.controller.kill()
            self.histogram["at random: controller"] += 1
        self.start_controller()

    def _work_stop(self, fleet: muster.Fleet) -> None:
        """A model that is served for a moment and then not at all."""
        begun = fleet.rollout("brief", devices=[DEVICE])
        for _ in range(40):
            if begun.view().is_over:
                break
            threading.Event().wait(0.1)
        begun.rollback()

    def _work_model(self, fleet: muster.Fleet) -> None:
        """A model that comes and goes: downloads, and bytes that nobody needs any more."""
        if "extra" in {model.id for model in fleet.models.list()}:
            fleet.models.remove("extra")
        fleet.models.add(self.source(self.serial), "extra").result(timeout_s=20)
        fleet.push("extra", devices=[DEVICE])

    def _work_variant(self, fleet: muster.Fleet) -> None:
        found = {model.id: model for model in fleet.models.list()}
        if "extra" not in found or len(found["extra"].variants()) > 6:
            self._work_model(fleet)
            return
        variant = found["extra"].add_variant(self.source(self.serial), f"n{self.serial}").result(timeout_s=20)
        fleet.push([variant], devices=[DEVICE])

    def _work_load(self, fleet: muster.Fleet) -> None:
        fleet.load(DEVICE, "net", rate_hz=20, duration_s=1)

    def _work_bench(self, fleet: muster.Fleet) -> None:
        fleet.bench(fleet.models.get("net").variants()[0:1], devices=[DEVICE], tier="demo", threads=[1])

    def _work_join(self, fleet: muster.Fleet) -> None:
        if self.agent is not None:
            self.agent.kill()
        argv = ["join", self.link, "--state", str(self.state), "--id", DEVICE]
        self.agents.start(argv, self.environment).has_ended(20)

    def _work_rot(self, fleet: muster.Fleet) -> None:
        """One byte of a cached artifact changes on the disk, and a new deployment hashes what it loads."""
        with contextlib.closing(self._agent_database()) as database:
            records = [record_from_row(row) for row in database.execute(SELECT_SERVING).fetchall()]
        target = next(record.target for record in records if record.model_id == "net")
        sha256 = target.manifests[0].artifact.sha256
        path = self.state / "artifacts" / "sha256" / sha256[:2] / sha256
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        self.rotted.add(path.name)
        with path.open("r+b") as file:
            file.write(content)
        fleet.rollout("net", devices=[DEVICE])

    # ---- the witness ----

    def check(self) -> None:
        """The disks as they lie now; every violation is kept."""
        for look in (
            self._check_cache,
            self._check_records,
            self._check_reports,
            self._check_other,
            self._check_bounds,
        ):
            try:
                look()
            except AssertionError as error:
                self.violations.append(f"{look.__name__}: {error}")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    self.violations.append(f"{look.__name__}: {error}")

    def _check_cache(self) -> None:
        for path in (self.state / "artifacts" / "sha256").glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                found = hashlib.sha256(path.read_bytes()).hexdigest()
                assert found == path.name or path.name in self.rotted, "I1: a name with other bytes"

    def _check_records(self) -> None:
        verifier = open_authority(self.data / "identity", self._fleet_id()).verifier
        with contextlib.closing(self._agent_database()) as database:
            desired = database.execute("SELECT envelope FROM desired").fetchone()
            rows = database.execute(SELECT_SERVING).fetchall()
        assert desired is not None, "I5: the desired state is gone"
        envelope = codec.decode(SignedEnvelope, desired[0])
        verifier.verify([envelope])
        state = codec.decode(DesiredState, envelope.payload)
        assert (state.epoch, state.version) >= self.newest, f"I5: {self.newest} went down to {state.version}"
        self.newest = (state.epoch, state.version)
        assert rows, "I4: nothing is on record"
        for row in rows:
            record = record_from_row(row)
            is_given_up = record.model_id != "net"  # the others are served for a moment, or never
            assert record.target is not None or is_given_up, "I4: neither old nor new is on record"
            for model in record.models:
                verifier.verify(model.source.manifests)

    def _check_reports(self) -> None:
        """I2: what the agent was told is stored is stored, once, and nothing else is gone from its queue."""
        with contextlib.closing(self._agent_database()) as database:
            queued = database.execute("SELECT sequence, is_acknowledged FROM audit").fetchall()
            waiting = {row[0] for row in database.execute("SELECT sequence FROM reports")}
        with contextlib.closing(self._controller_database()) as database:
            stored = Counter(
                row[0] for row in database.execute("SELECT sequence FROM reports WHERE device_id = ?", (DEVICE,))
            )
            events = Counter(
                row[0] for row in database.execute("SELECT event_id FROM events WHERE device_id = ?", (DEVICE,))
            )
        acknowledged = {sequence for sequence, is_acknowledged in queued if is_acknowledged}
        lost = [sequence for sequence in acknowledged if stored[sequence] != 1]
        assert not lost, f"I2: acknowledged and not stored exactly once: {lost[:5]}"
        assert not [s for s, is_acknowledged in queued if not is_acknowledged and s not in waiting], "I2: gone unasked"
        assert not [name for name, count in events.items() if name and count > 1], "I2: an event twice"
        self.audited = len(queued)

    def _check_other(self) -> None:
        assert self._desired_of("other") == self.other, "I6: another device's desired state has changed"

    def _check_bounds(self) -> None:
        """I7: kills leave no heap of files and no crowd of processes behind."""
        names = [path.name for folder in (self.state, self.data) for path in folder.rglob("*")]
        leftovers = [n for n in names if n.startswith((".", "put-")) or n.endswith((".new", ".tmp", ".part"))]
        assert len(leftovers) < LEFTOVERS, f"I7: {len(leftovers)} leftovers, such as {leftovers[:5]}"
        assert len(self.serving_pids()) <= 4, "I7: a crowd of serving processes"

    def check_serves(self, timeout_s: float = 40.0, is_whole: bool = False) -> None:
        """I4 and I3: within the time, an answer that a published variant gives.

        A device whose copy the test damaged, with the controller gone, may need it back: ``is_whole`` when it is.
        """
        deadline_s, last = time.monotonic() + timeout_s, "no port on record"
        while time.monotonic() < deadline_s:
            try:
                found = self.ask()
            except (OSError, sqlite3.Error, ValueError) as error:
                last = str(error)
                threading.Event().wait(0.05)
                continue
            if not any(np.allclose(found, zygote.answer(seed, ROWS), atol=1e-4) for seed in self.published.values()):
                self.violations.append("I3: an answer that no published variant gives")
            return
        if is_whole or not self._is_missing_what_was_damaged():
            self.violations.append(f"I4: nothing serves within {timeout_s:.0f} s: {last}; {self.scene()}")
            return
        self.healed += 1
        self.start_controller()  # what the test damaged can only be fetched again
        self.check_serves(timeout_s, is_whole=True)

    def _is_missing_what_was_damaged(self) -> bool:
        """What is on record to be served was damaged, and taken away by the agent; nobody has been there since."""
        with contextlib.closing(self._agent_database()) as database:
            records = [record_from_row(row) for row in database.execute(SELECT_SERVING).fetchall()]
        models = [model for record in records if record.model_id == "net" for model in record.models]
        wanted = {manifest.artifact.sha256 for model in models for manifest in model.manifests}
        found = {path.name for path in (self.state / "artifacts" / "sha256").glob("??/*")}
        return bool((wanted & self.rotted) - found)

    def scene(self) -> str:
        """What a reader of a violation asks first."""
        is_alive = self.agent is not None and not self.agent.has_ended()
        words = (self.folder / "agent.log").read_text(errors="replace").splitlines()[-12:]
        return f"agent alive: {is_alive}, serving: {self.serving_pids()}, its log ends:\n" + "\n".join(words)

    def ask(self) -> np.ndarray:
        with contextlib.closing(self._agent_database()) as database:
            (port,) = database.execute("SELECT http_port FROM serving WHERE model_id = 'net'").fetchone()
        body = {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROWS.ravel().tolist()}]}
        url, kind = f"http://127.0.0.1:{port}/v2/models/net/infer", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), kind), timeout=5) as found:
            return np.array(json.load(found)["outputs"][0]["data"], np.float32).reshape(1, 4)

    def settle(self, timeout_s: float = 120.0) -> None:
        """At the end, with nobody killed: everything is delivered and the device serves."""
        self.armed.unlink(missing_ok=True)
        self.start_controller()
        self.start_agent()
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.closing(self._agent_database()) as database:
                (waiting,) = database.execute("SELECT count(*) FROM reports").fetchone()
            if not waiting:
                break
            threading.Event().wait(0.2)
        else:
            self.violations.append(f"I2: {waiting} reports are never acknowledged")
        self.check_serves()
        self.check()

    def _agent_database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.state / 'agent.sqlite3'}?mode=ro", uri=True, timeout=10)

    def _controller_database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.data / 'fleet.sqlite3'}?mode=ro", uri=True, timeout=10)

    def _fleet_id(self) -> str:
        with contextlib.closing(self._controller_database()) as database:
            return str(database.execute("SELECT fleet_id FROM fleet").fetchone()[0])

    def _desired_of(self, device_id: str) -> bytes:
        with contextlib.closing(self._controller_database()) as database:
            row = database.execute("SELECT envelope FROM desired WHERE device_id = ?", (device_id,)).fetchone()
        return b"" if row is None else bytes(row[0])


class Kills:
    """What the tests need."""

    points = staticmethod(points)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rigs: list[Rig] = []

    def rig(self, seed: int) -> Rig:
        made = Rig(self._folder / f"rig{seed}", seed)
        self.rigs.append(made)
        return made


@pytest.fixture
def kills(tmp_path: Path) -> Iterator[Kills]:
    made = Kills(tmp_path)
    yield made
    for rig in made.rigs:
        rig.close()
    if not any(rig.violations for rig in made.rigs):  # else the folders are the evidence
        shutil.rmtree(tmp_path, ignore_errors=True)


Act = Callable[[Rig], None]
