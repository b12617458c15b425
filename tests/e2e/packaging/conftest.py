"""Wheels of today and of earlier versions in environments of their own, and the fleet that they meet in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WAIT_S = 120.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In a CI run a wheel that could not be tried on one of its Pythons is told at the end, not only as an "s"."""
    if not os.environ.get("CI"):
        return
    for report in terminalreporter.stats.get("skipped", ()):
        if "e2e/packaging" in report.nodeid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(f"WARNING: not tried: {report.nodeid}: {reason}", yellow=True, bold=True)


@dataclass(frozen=True)
class Installed:
    """An environment with one version of Muster in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, name: str, *arguments: str, expected: int = 0, timeout_s: float = 240.0) -> str:
        """The standard output of one of its commands; the error output instead where failure is expected."""
        done = subprocess.run(
            [str(self.folder / "bin" / name), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=clean_environment(),
            check=False,
        )
        assert done.returncode == expected, f"{name} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if expected else done.stdout

    def packages(self) -> dict[str, str]:
        """Name in lower case to version, of what lies in the environment itself."""
        listed = run(pip(self.folder, "list", "--path", str(self.library), "--format", "json"))
        return {row["name"].lower(): row["version"] for row in json.loads(listed)}

    @property
    def library(self) -> Path:
        return next((self.folder / "lib").glob("python3.*/site-packages"))

    @contextlib.contextmanager
    def agent(self, state: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """``muster-agent run``, stopped in order."""
        command = [str(self.folder / "bin" / "muster-agent"), "run", "--state", str(state), *options]
        with (state.parent / f"{state.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment()
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@dataclass(frozen=True)
class Fleet:
    """A running ``muster up``, spoken to by the commands of its own version."""

    installed: Installed
    data: Path
    process: subprocess.Popen[bytes]

    def muster(self, *arguments: str, expected: int = 0) -> str:
        return self.installed.run("muster", "--data", str(self.data), *arguments, expected=expected)

    def json(self, *arguments: str) -> list[dict]:
        return json.loads(self.muster(*arguments, "-o", "json"))

    def join(self, agent: Installed, state: Path, device_id: str, link: str) -> None:
        """By the line that a person would paste; over ``link`` alone, "grpc" or "mqtt"."""
        options = ("--mqtt",) if link == "mqtt" else ()
        made = json.loads(self.muster("token", "new", *options, "-o", "json"))
        line = made["broker_link" if link == "mqtt" else "link"]
        agent.run("muster-agent", "join", line, "--state", str(state), "--id", device_id)

    def only(self, link: str) -> tuple[str, str]:
        """How an agent is told to use this link alone; of several it leaves one that is away for 15 s."""
        return "--link", json.loads((self.data / "endpoints.json").read_text())[link]

    def device(self, device_id: str) -> dict:
        return next((row for row in self.json("device", "ls") if row["device_id"] == device_id), {})

    def wait_online(self, device_id: str, link: str) -> None:
        found = self.eventually(lambda: self.device(device_id), lambda row: row.get("presence") == "online")
        assert found["link"] == link

    def eventually(self, look: Callable[[], dict], is_there: Callable[[dict], bool]) -> dict:
        """What ``look`` finds once ``is_there`` holds for it."""
        deadline = time.monotonic() + WAIT_S
        while not is_there(found := look()):
            log = (self.data / "up.log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"{found}\n{log}"
            time.sleep(0.3)
        return found

    @staticmethod
    def ask(http_port: int, model: str) -> list[float]:
        """What a device's serving process answers to sixteen halves."""
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{http_port}/v2/models/{model}/infer",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            (output,) = json.loads(answer.read())["outputs"]
        return [float(value) for value in output["data"]]

    def eventually_answers(self, http_port: int, model: str, expected: list[float]) -> None:
        """A device answers there, whether or not a controller is up."""

        def look() -> dict:
            with contextlib.suppress(OSError):
                return {"answer": self.ask(http_port, model)}
            return {}

        assert self.eventually(look, bool)["answer"] == expected

    def add(self, source: Path, name: str, *options: str) -> None:
        self.muster("model", "add", str(source), "--name", name, *options)

    def measure(self, model: str, device_id: str) -> list[dict]:
        """Push and benchmark on this device: the records."""
        pushed = self.json("push", model, "--device", device_id)
        assert {row["state"] for row in pushed} == {"verified"}
        records = self.json("bench", "run", model, "--device", device_id, "--tier", "demo", "--threads", "1")
        assert records
        assert all(record["latency"]["p50"] > 0 for record in records), records
        return records

    def deploy(self, model: str, device_id: str) -> dict:
        """Select and roll out: how the device reports that it serves the model."""
        policy = self.data / "policy.yaml"
        policy.write_text("constraints: {p95_ms: {max: 5000}}\nobjective: accuracy\nallow_agreement: true\n")
        chosen = self.muster("select", model, "--policy", str(policy), "--device", device_id, "--explain")
        assert "chosen" in chosen
        rolled = json.loads(self.muster("rollout", "start", model, "--device", device_id, "-o", "json"))
        assert rolled["rollout"]["state"] == "succeeded", rolled
        return self.served(model, device_id)

    def served(self, model: str, device_id: str) -> dict:
        """The committed deployment of this model, once the device reports it."""

        def look() -> dict:
            device = json.loads(self.muster("device", "show", device_id, "-o", "json"))
            found = [row for row in (device["reported"] or {}).get("serving", ()) if row["model_id"] == model]
            return found[0] if found else {}

        return self.eventually(look, lambda row: row.get("state") == "committed")


def clean_environment() -> dict[str, str]:
    """Nothing of Muster's own settings, of this environment, or of coverage."""
    strange = ("MUSTER_", "COVERAGE", "COV_", "PYTHON", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if not key.startswith(strange)}


def run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env=clean_environment(), check=False, cwd="/"
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def pip(environment: Path, *arguments: str) -> list[str]:
    """This environment's pip, at work on another one: that one needs none of its own."""
    python = ["--python", str(environment / "bin" / "python")]
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *python, *arguments]


@pytest.fixture(scope="session")
def find_python() -> Callable[[str], str]:
    """A Python of this minor version, from MUSTER_PYTHON_3_10, the path, or pyenv.

    Without it the test is skipped; it fails where MUSTER_REQUIRE_PYTHONS is set.
    """

    def find(version: str) -> str:
        variable = f"MUSTER_PYTHON_{version.replace('.', '_')}"
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        candidates = [
            os.environ.get(variable),
            sys.executable if version == f"{sys.version_info.major}.{sys.version_info.minor}" else None,
            shutil.which(f"python{version}"),
            *(str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))),
        ]
        for candidate in filter(shutil.which, filter(None, candidates)):
            probe = [candidate, "-c", "import ensurepip, ssl, sqlite3, sys; print(*sys.version_info[:2], sep='.')"]
            done = subprocess.run(probe, capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip() == version:
                return candidate
        reason = f"no Python {version} with ssl and sqlite3 on this machine: set {variable}"
        if os.environ.get("MUSTER_REQUIRE_PYTHONS"):
            pytest.fail(reason)
        pytest.skip(reason)

    return find


@pytest.fixture(scope="session")
def build_wheel() -> Callable[[Path, Path], Path]:
    """``build_wheel(source tree, folder)``."""

    def build(source: Path, folder: Path) -> Path:
        run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)])
        return next(folder.glob("muster_edge-*.whl"))

    return build


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, build_wheel: Callable[[Path, Path], Path]) -> Path:
    """Today's."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Installed]:
    """``install(python, *requirements)``: into an empty environment, with what they need from the index."""

    def make(python: str, *requirements: str) -> Installed:
        folder = tmp_path_factory.mktemp("environment")
        run([python, "-m", "venv", "--without-pip", str(folder)])
        run(pip(folder, "install", "-q", *requirements))
        return Installed(folder)

    return make


@pytest.fixture(scope="session")
def beside_ours(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Installed]:
    """``beside_ours(wheel)``: this wheel, with the packages of this environment but for Muster itself."""

    def make(of: Path) -> Installed:
        folder = tmp_path_factory.mktemp("environment")
        run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        run(pip(folder, "install", "-q", "--no-deps", str(of)))
        installed = Installed(folder)
        # A folder that a .pth file names is searched last, and its own .pth files (our editable install) are not read.
        (installed.library / "ours.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        where = run([str(installed.python), "-c", "import muster_agent as a, muster_controller as c; print(a, c)"])
        assert where.count(str(folder)) == 2, where
        return installed

    return make


@contextlib.contextmanager
def running(installed: Installed, data: Path, *options: str) -> Iterator[Fleet]:
    """``muster up`` without a device of its own; on the ports of before where it ran in this folder once."""
    data.mkdir(parents=True, exist_ok=True)
    last = data / "ports.json"
    ports = json.loads(last.read_text()) if last.exists() else {}
    command = [str(installed.folder / "bin" / "muster"), "--data", str(data), "up", "--no-device", *options]
    command += ["--port", "0", "--join-port", ports.get("join", "0"), "--grpc-port", ports.get("grpc", "0")]
    command += ["--mqtt-port", ports.get("mqtt", "0")] if "--mqtt" in options else []
    (data / "up.log").touch()
    before = (data / "up.log").read_bytes().count(b"Next steps")
    with (data / "up.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environment() | {"MUSTER_DATA": str(data)},
        )
    try:
        deadline = time.monotonic() + WAIT_S
        while (data / "up.log").read_bytes().count(b"Next steps") <= before:
            assert process.poll() is None, (data / "up.log").read_text()
            assert time.monotonic() < deadline, (data / "up.log").read_text()
            time.sleep(0.1)
        urls = json.loads((data / "endpoints.json").read_text())
        found = {name: url.rpartition(":")[2] for name, url in urls.items() if name in ("join", "grpc", "mqtt") and url}
        last.write_text(json.dumps(found))
        yield Fleet(installed, data, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="session")
def fleet_at() -> Callable[..., contextlib.AbstractContextManager[Fleet]]:
    """``with fleet_at(installed, folder, *options of muster up) as fleet``."""
    return running


@pytest.fixture(scope="session")
def today(wheel: Path, beside_ours: Callable[[Path], Installed]) -> Installed:
    return beside_ours(wheel)
