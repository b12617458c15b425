"""The agent is killed more than a hundred times, at random points and in each delicate phase; nothing breaks.

After every kill the disk is read as it lies: I1 (bytes match names, descriptions are signed), I3 (nothing unsigned or
torn is on record), I5 (the desired version never goes down). After every fourth kill the agent is started with no
controller and, in turn, after its serving process has died too: it answers with its last good model (I4).
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from muster_agent.adapters.state_sqlite.rows import SELECT_SERVING, record_from_row
from muster_controller.adapters.identity_x509 import open_authority
from muster_protos import codec
from muster_protos.model import DesiredState, SignedEnvelope

PHASES = ("download", "verify", "swap", "commit")
KILLS = 104
PER_PHASE = 10
PADDING_BYTES = 1_500_000  # six chunks of 256 KiB
ROWS = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)


@dataclass
class Witness:
    """What must be true of the disk, and what was seen so far."""

    lab: object
    agent: object
    published: dict[str, np.ndarray] = field(default_factory=dict)  # variant id -> its answer to ROWS
    newest: tuple[int, int] = (0, 0)
    trials_seen: int = 0

    def check_disk(self) -> None:
        for path in (self.agent.state / "artifacts" / "sha256").glob("??/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, "I1: a name with other bytes"
        with sqlite3.connect(self.agent.state / "agent.sqlite3") as database:
            desired = database.execute("SELECT envelope FROM desired").fetchone()
            rows = database.execute(SELECT_SERVING).fetchall()
        database.close()
        if desired is not None:
            self._check_desired(codec.decode(SignedEnvelope, desired[0]))
        for row in rows:
            self._check_record(record_from_row(row))

    def _check_desired(self, envelope: SignedEnvelope) -> None:
        self.lab.authority.verifier.verify([envelope])  # I3
        state = codec.decode(DesiredState, envelope.payload)
        assert (state.epoch, state.version) >= self.newest, "I5: the version went down"
        self.newest = (state.epoch, state.version)

    def _check_record(self, record) -> None:
        assert record.target is not None, "neither old nor new is on record"
        self.trials_seen += record.trial is not None
        for model in (record.trial, record.last_good):
            if model is None:
                continue
            self.lab.authority.verifier.verify(model.source.manifests)  # I3
            for configuration in model.ladder():
                manifest = model.manifest(configuration.variant_id)
                for ref in (manifest.artifact, manifest.golden):
                    path = self.agent.state / "artifacts" / "sha256" / ref.sha256[:2] / ref.sha256
                    assert path.stat().st_size == ref.size_bytes, "I1: what is on record is not in the cache"

    def check_serves(self, timeout_s: float = 30.0) -> str:
        """The variant that answers, by its answer: one of those that were published."""
        with sqlite3.connect(self.agent.state / "agent.sqlite3") as database:
            (port,) = database.execute("SELECT http_port FROM serving").fetchone()
        database.close()
        deadline_s, last = time.monotonic() + timeout_s, ""
        while time.monotonic() < deadline_s:
            try:
                found = ask(port)
            except OSError as error:
                last = str(error)
                threading.Event().wait(0.05)
                continue
            for variant_id, wanted in self.published.items():
                if np.allclose(found, wanted, atol=1e-4):
                    return variant_id
            raise AssertionError("I3: an answer that no published variant gives")
        raise AssertionError(f"I4: nothing serves on port {port}: {last}")


def ask(port: int) -> np.ndarray:
    body = {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROWS.ravel().tolist()}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/net/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return np.array(json.load(answer)["outputs"][0]["data"], np.float32).reshape(1, 4)


class PhaseLog:
    """Where the agent says that it is."""

    def __init__(self, path) -> None:
        self.path = path
        self.path.touch()

    def last(self) -> str:
        return (self._phases() or ["idle"])[-1]

    def clear(self) -> None:
        self.path.write_text("")

    def wait(self, phase: str, timeout_s: float, nth: int) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self._phases().count(phase) >= nth:
                return
            threading.Event().wait(0.002)

    def _phases(self) -> list[str]:
        """``swap`` of ``swap: pointer written``; what comes with every write says nothing of the phase."""
        named = (line.partition(":")[0] for line in self.path.read_text().splitlines())
        return [name for name in named if name not in ("state", "copy", "file")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", [pytest.param("grpc", marks=pytest.mark.faults), "mqtt"], indirect=True)
def test_a_hundred_kills_break_no_promise(lab, agent, e2e, tmp_path, capsys):
    chance = random.Random(20)
    phases = PhaseLog(tmp_path / "phases.log")
    agent.environment = {"MUSTER_FAILPOINT_LOG": str(phases.path), "MUSTER_FAILPOINT_MS": "6"}
    witness = Witness(lab, agent)
    histogram: Counter[str] = Counter()
    foreign = open_authority(tmp_path / "foreign", e2e.FLEET)

    def publish(number: int) -> int:
        variant = lab.variant(f"n{number}", 16, seed=number, padding=PADDING_BYTES)
        witness.published[variant.variant_id] = e2e.reference(16, number, ROWS)
        return lab.want(lab.model(variant, grant=e2e.grant(f"d{number}", variant)))

    agent.start()
    lab.wait_converged(publish(0), 120)
    agent.kill()
    number = 0
    while sum(histogram.values()) < KILLS or min(histogram[phase] for phase in PHASES) < PER_PHASE:
        number += 1
        assert number < 2 * KILLS, f"the phases are not reached: {histogram}"
        target = (*PHASES, "")[number % 5]
        publish(number)
        if number % 6 == 0:
            lab.corrupt_next = True  # one artifact arrives with a flipped bit
        phases.clear()
        agent.start(log_level="info")
        if target:
            phases.wait(target, 20, nth=chance.randint(1, 3) if target != "commit" else chance.randint(1, 2))
            threading.Event().wait(chance.uniform(0, 0.02))
        else:
            threading.Event().wait(chance.uniform(0.2, 2.0))
        if number % 9 == 0:
            lab.forge(foreign)
        agent.kill()
        histogram[phases.last()] += 1
        witness.check_disk()
        if number % 4 == 0:
            lab.shut()
            if number % 8 == 0:
                e2e.end_children(agent.state)
            phases.clear()
            agent.start(log_level="info")
            witness.check_serves()
            agent.kill()
            histogram["serving offline"] += 1
            witness.check_disk()
            lab.open()

    version = publish(number + 1)
    agent.start(log_level="info")
    lab.wait_converged(version, 120)
    assert witness.check_serves() == f"net.v1.n{number + 1}"
    assert witness.trials_seen > 0
    assert agent.stop() == 0
    with capsys.disabled():
        print(f"\nkill loop over {lab.link_name}: {sum(histogram.values())} kills, {lab.served_bytes >> 20} MiB served")
        for phase, count in histogram.most_common():
            print(f"  {phase:<16} {count:>4} {'#' * count}")
    assert len({key[2] for key in lab.reports}) == len(lab.reports), "I2: one sequence number, two reports"
