"""What ``muster-agent status`` says with and without an agent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from muster_agent.adapters.link_note import LinkNote
from muster_agent.adapters.serving_note import ServingNote
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.cli.doctor import (
    FAILED,
    OK,
    UNKNOWN,
    WARNING,
    agent_finding,
    artifact_findings,
    link_finding,
    read_link,
)
from muster_agent.cli.main import build_parser
from muster_agent.cli.state_folder import StateFolder
from muster_agent.cli.status import _lines, do, read_status
from muster_agent.core.known import ServingRecord
from muster_agent.core.link_state import LinkState, Standing
from muster_agent.core.wanted import read_model
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.testing import sign_manifest
from muster_protos.model import (
    ArtifactRef,
    Configuration,
    DesiredModel,
    Rung,
    ServingGrant,
    SigningKey,
    Slo,
    VariantManifest,
)

FP32 = "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A device that has joined and has committed a model."""
    identities = IdentityFolder(tmp_path / "identity")
    identities.create()
    identities.key_path.write_bytes(b"key")
    identities.write(Identity("lab", "pi", b"cert", b"ca", (SigningKey("k", b"p"),), ("grpcs://127.0.0.1:1",)))
    manifest = VariantManifest(
        variant_id="digits.v1.fp32",
        model_id="digits",
        model_version=1,
        name="fp32",
        artifact=ArtifactRef(FP32, 1),
        golden=ArtifactRef("b" * 64, 1),
        evaluation=ArtifactRef("c" * 64, 1),
    )
    smaller = replace(manifest, variant_id="digits.v1.int8", name="int8", artifact=ArtifactRef("d" * 64, 1))
    names = ("digits.v1.fp32", "digits.v1.int8")
    ladder = tuple(Rung(Configuration(name, "onnxruntime", "cpu"), 1, 1, 0.9) for name in names)
    grant = ServingGrant(deployment_id="d1", ladder=ladder, slo=Slo(9_000_000, 95.0))
    manifests = (sign_manifest(manifest), sign_manifest(smaller))
    model = read_model(DesiredModel("digits", 1, manifests=manifests, serving=grant))
    for sha256 in (FP32, "b" * 64, "d" * 64):
        path = tmp_path / "artifacts" / "sha256" / sha256[:2] / sha256
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    with closing(SqliteState(tmp_path / "agent.sqlite3")) as state:
        state.put_serving(ServingRecord("digits", last_good=model, http_port=44331, grpc_port=44332))
    return StateFolder(tmp_path)


@pytest.fixture
def orphan(folder: StateFolder) -> Iterator[int]:
    """A process that looks like one that a killed agent has left."""
    command = [sys.executable, "-c", "print(flush=True); input()", "muster_agent.serving", "digits"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs: only then does the kernel tell its command line
        folder.socket.with_name("serving-digits.pid").write_text(json.dumps({"pid": process.pid}))
        yield process.pid


def text(folder: StateFolder) -> str:
    return "\n".join(_lines(read_status(folder)))


def test_without_an_agent_nothing_is_served_and_that_is_trouble(folder):
    status = read_status(folder)
    assert "served last digits by d1 (committed) on HTTP 44331, gRPC 44332; nothing runs" in text(folder)
    assert (status.is_running, status.troubles[0]) == (False, "agent: does not run")


def test_with_an_agent_it_serves(folder):
    with folder.locked():
        assert "digits by d1 (committed) on HTTP 44331, gRPC 44332: not up yet" in text(folder)
        with closing(ServingNote((lambda: folder.root,))) as note:
            note.write({"digits": "digits.v1.fp32"})
            assert "serves digits by d1 (committed) on HTTP 44331, gRPC 44332 with digits.v1.fp32" in text(folder)
        assert "agent: " not in " ".join(read_status(folder).troubles)
    assert "digits.v1.fp32" not in text(folder)  # the note is of an agent that is gone


def test_a_damaged_rung_is_trouble_and_what_is_served_instead_is_named(folder, capsys):
    assert not [item for item in read_status(folder).troubles if "artifact" in item]
    assert [item.verdict for item in artifact_findings(folder)] == [OK]
    (folder.root / "quarantine").mkdir()
    (folder.root / "artifacts" / "sha256" / "aa" / FP32).rename(folder.root / "quarantine" / FP32)
    told = f"artifact {FP32[:12]} of digits.v1.fp32 was damaged on disk and waits to be fetched again"
    assert read_status(folder).troubles[-1] == told
    with folder.locked(), closing(ServingNote((lambda: folder.root,))) as note:
        note.write({"digits": "digits.v1.int8"})
        assert do(build_parser().parse_args(["status", "--state", str(folder.root)])) == 1
        output = capsys.readouterr().out
        assert "gRPC 44332 with digits.v1.int8\n" in output
        assert f"trouble: {told}; serves digits.v1.int8\n" in output
        (finding,) = artifact_findings(folder)
        assert (finding.verdict, finding.found) == (FAILED, f"{told}; serves digits.v1.int8")
    (folder.root / "quarantine" / FP32).unlink()
    assert "of digits.v1.fp32 is not on the disk" in read_status(folder).troubles[-1]


def test_the_process_that_a_killed_agent_has_left_is_named(folder, orphan):
    assert f"pid {orphan} still answers and ends" in text(folder)
    assert read_status(folder).troubles[0] == "agent: does not run"


def test_an_agent_that_could_not_write_its_pid_runs_all_the_same(folder):
    with folder.locked():
        folder.lock.write_text("")
        assert (agent_finding(folder).verdict, agent_finding(folder).found) == (OK, "runs")
    assert agent_finding(folder).verdict == WARNING


@pytest.mark.parametrize(
    ("standing", "reason", "code", "words", "verdict"),
    [
        (Standing.ONLINE, "", 0, "link online by grpc since 2026-", OK),
        (Standing.OFFLINE, "the controller stops", 0, "link offline since 2026-", WARNING),
        (Standing.REFUSED, "the grace is over", 1, "trouble: link: refused by the controller since 2026-", FAILED),
        (Standing.REMOVED, "unknown here", 1, "trouble: link: removed from the fleet since 2026-", FAILED),
    ],
)
def test_a_running_agent_says_how_it_stands_with_its_controller(
    folder, monkeypatch, capsys, standing, reason, code, words, verdict
):
    monkeypatch.setattr("muster_agent.cli.doctor._LOW_DISK_BYTES", 0)
    with folder.locked(), closing(LinkNote((lambda: folder.root,))) as note:
        note.write(LinkState(standing, 1_780_000_000 * 10**9, reason, "grpc"))
        assert do(build_parser().parse_args(["status", "--state", str(folder.root)])) == code
        output = capsys.readouterr().out
        assert words in output
        assert reason in output
        assert do(build_parser().parse_args(["status", "--state", str(folder.root), "-o", "json"])) == code
        assert json.loads(capsys.readouterr().out)["link"]["standing"] == standing.value
        finding = link_finding(read_link(folder))
    assert (finding.verdict, bool(finding.fix)) == (verdict, verdict != OK)
    assert read_link(folder) is None  # the note is of an agent that is gone
    assert link_finding(None).verdict == UNKNOWN
