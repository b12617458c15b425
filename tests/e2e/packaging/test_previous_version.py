"""Agents and controllers of earlier versions with today's, and upgrades in place of either.

Which versions: ``previous_versions.txt``. ``make test-wheels`` runs this.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def read_versions() -> list[tuple[str, str]]:
    """(ref, link) for each link of each version of the file."""
    lines = (HERE / "previous_versions.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [(ref, link) for ref, *links in rows for link in links]


REFS = [pytest.param(ref, id=ref[:8]) for ref in dict.fromkeys(ref for ref, _ in read_versions())]
VERSIONS = [pytest.param(ref, link, id=f"{ref[:8]}-{link}") for ref, link in read_versions()]


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory, build_wheel, beside_ours) -> Callable:
    """``version(ref)``: that commit, built and installed. Skipped where a shallow clone has no such commit."""
    made = {}

    def make(ref: str):
        if ref not in made:
            archive = subprocess.run(["git", "-C", str(ROOT), "archive", ref], capture_output=True, check=False)
            if archive.returncode != 0:
                ask = ["git", "-C", str(ROOT), "rev-parse", "--is-shallow-repository"]
                is_whole = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() == "false"
                assert not is_whole, f"previous_versions.txt names {ref}: {archive.stderr.decode()}"
                pytest.skip(f"no commit {ref[:12]} here (shallow clone, or none at all): git fetch --unshallow")
            folder = tmp_path_factory.mktemp("previous")
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
                tar.extractall(folder / "source", filter="data")
            made[ref] = beside_ours(build_wheel(folder / "source", folder / "wheel"))
        return made[ref]

    return make


def options_for(link: str) -> tuple[str, ...]:
    return ("--mqtt",) if link == "mqtt" else ()


def resumed(found: dict[str, str]) -> bool:
    return "serving.resumed" in found["log"]


def count_resumed(fleet) -> dict[str, int]:
    return {"count": len(fleet.json("events", "--kind", "serving.resumed"))}


@pytest.mark.parametrize(("ref", "link"), VERSIONS)
def test_agent_of_an_earlier_version_lives_with_todays_controller_and_is_upgraded_in_place(
    ref: str, link: str, version, today, fleet_at, files: Path, request, tmp_path: Path
) -> None:
    if link == "mqtt":
        request.getfixturevalue("mosquitto")
    old, state = version(ref), tmp_path / "state"
    with contextlib.ExitStack() as controller:
        fleet = controller.enter_context(fleet_at(today, tmp_path / "data", *options_for(link)))
        fleet.add(files / "model.onnx", "linear", "--data", str(files / "data.npz"))
        fleet.join(old, state, "shelf", link)
        only = fleet.only(link)
        with old.agent(state, *only):
            fleet.wait_online("shelf", link)
            fleet.measure("linear", "shelf")
            before = fleet.deploy("linear", "shelf")
            answer = fleet.ask(before["http_port"], "linear")
        controller.close()
        with old.agent(state, *only):  # once more with nobody to tell: its word of it is left in its queue
            fleet.eventually(lambda: {"log": state.with_suffix(".log").read_text()}, resumed)
        with today.agent(state, *only):
            # I4: what it took over serves before anybody is there to ask, and under the same address.
            fleet.eventually_answers(before["http_port"], "linear", answer)
            fleet = controller.enter_context(fleet_at(today, tmp_path / "data", *options_for(link)))
            fleet.wait_online("shelf", link)
            after = fleet.served("linear", "shelf")
            assert after["deployment_id"] == before["deployment_id"]
            told = fleet.eventually(lambda: count_resumed(fleet), lambda found: found["count"] >= 2)
            assert told == {"count": 2}
            fleet.add(files / "null.tflite", "null")
            fleet.measure("null", "shelf")
            fleet.deploy("null", "shelf")
        assert [row["device_id"] for row in fleet.json("device", "ls")] == ["shelf"]
        controller.close()
    assert not (state / "agent.sqlite3.damaged").exists()
    assert "Traceback" not in (tmp_path / "state.log").read_text()


@pytest.mark.parametrize(("ref", "link"), VERSIONS)
def test_todays_agent_lives_with_an_earlier_controller_which_is_upgraded_in_place(
    ref: str, link: str, version, today, fleet_at, files: Path, request, tmp_path: Path
) -> None:
    if link == "mqtt":
        request.getfixturevalue("mosquitto")
    old, data = version(ref), tmp_path / "data"
    states = {"young": (today, tmp_path / "young"), "old": (old, tmp_path / "old")}
    with contextlib.ExitStack() as agents:
        with fleet_at(old, data, *options_for(link)) as fleet:
            fleet.add(files / "model.onnx", "linear", "--data", str(files / "data.npz"))
            for name, (agent, state) in states.items():
                fleet.join(agent, state, name, link)
                agents.enter_context(agent.agent(state, *fleet.only(link)))
                fleet.wait_online(name, link)
                fleet.measure("linear", name)
            before = {name: fleet.deploy("linear", name) for name in states}
            answers = [fleet.ask(serving["http_port"], "linear") for serving in before.values()]
            assert answers[0] == answers[1]
            runs = fleet.json("bench", "ls")
        with fleet_at(today, data, *options_for(link)) as fleet:
            for name in states:
                fleet.wait_online(name, link)
                assert fleet.served("linear", name)["deployment_id"] == before[name]["deployment_id"]
            assert [row["run_id"] for row in fleet.json("bench", "ls")] == [row["run_id"] for row in runs]
            assert fleet.json("rollout", "history")
            fleet.add(files / "null.tflite", "null")
            for name in states:
                fleet.measure("null", name)
                fleet.deploy("null", name)
                assert fleet.ask(fleet.served("linear", name)["http_port"], "linear") == answers[0]


@pytest.mark.parametrize("ref", REFS)
def test_an_earlier_codec_reads_what_today_writes(ref: str, version, today, tmp_path: Path) -> None:
    script, recorded = str(ROOT / "scripts" / "record_wire.py"), tmp_path / "today.json"
    recorded.write_text(today.run("python", script, "record"))
    version(ref).run("python", script, "check", str(recorded), "--newer")
    if ref == read_versions()[0][0]:  # and the committed recording is what that version writes
        (committed,) = (ROOT / "tests/unit/muster_protos/recorded").glob(f"{ref[:8]}*.json")
        assert committed.read_text() == version(ref).run("python", script, "record")
