"""A real agent process against the real links, identity and signing; only the controller's mind is the test's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import make_request
from muster_bench.binding import identity_binding
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.adapters.link_grpc import GrpcLink
from muster_controller.adapters.link_mqtt import MqttLink
from muster_controller.ports import DeviceSession, Principal
from muster_protos import codec
from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST
from muster_protos.errors import NotFoundError, PermanentError
from muster_protos.model import (
    AgentMessage,
    ArtifactRef,
    Configuration,
    ControllerMessage,
    Desired,
    DesiredModel,
    DesiredState,
    Format,
    Hello,
    Inventory,
    JoinRequest,
    JoinResponse,
    RenewResponse,
    Report,
    ReportAck,
    ReportedState,
    Rung,
    ServingGrant,
    Signature,
    SignedEnvelope,
    Slo,
    TensorSpec,
    VariantManifest,
)

INPUT = TensorSpec("x", "float32", (-1, 64), ("batch", ""))
OUTPUT = TensorSpec("y", "float32", (-1, 4), ("batch", ""))
SIGNATURE = Signature((INPUT,), (OUTPUT,), task="classification", metric="accuracy")
DEVICE = "pi"
FLEET = "lab"


@dataclass
class Lab:
    """A controller that says what it is told to and remembers what it hears."""

    folder: Path
    authority: X509Authority
    link_name: str = "grpc"
    artifacts: dict[str, bytes] = field(default_factory=dict)
    reports: dict[tuple[str, int, int], Report] = field(default_factory=dict)
    deliveries: int = 0  # reports received, repeated ones included
    reported: list[ReportedState] = field(default_factory=list)
    inventories: list[Inventory] = field(default_factory=list)
    served_bytes: int = 0
    acknowledges: bool = True
    corrupt_next: bool = False  # flip a bit in the next chunk of a large artifact
    version: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._session: DeviceSession | None = None
        self._envelope: SignedEnvelope | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._link: GrpcLink | MqttLink | None = None
        self._broker: MosquittoBroker | None = None
        self.move(self.link_name)

    def move(self, link_name: str) -> None:
        """Be reachable by this link from now on."""
        self.shut()
        self._end_broker()
        self.link_name, self.port = link_name, 0
        if link_name == "mqtt":
            self._broker = MosquittoBroker(self.folder / "broker", self.authority, FLEET)
            self.port = self._broker.start()
        self.open()

    @property
    def url(self) -> str:
        return f"{self.link_name}s://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._broker is not None:
            broker = MqttLink(self, self, FLEET, "127.0.0.1", self.port, self._broker.credentials)
            self._link = broker
            self._run(broker.start())
            return
        grpc = GrpcLink(self, self.authority, self, port=self.port)
        self._link = grpc
        self.port = self._run(grpc.start())

    def shut(self) -> None:
        """The controller is gone; a broker stays."""
        link, self._link = self._link, None
        if link is not None:
            self._run(link.stop(0.2))

    def close(self) -> None:
        self.shut()
        self._end_broker()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _end_broker(self) -> None:
        if self._broker is not None:
            self._broker.stop()
        self._broker = None

    def _run(self, coroutine: object) -> int:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)  # type: ignore[arg-type]

    # ---- Authenticator ----

    def authenticate_certificate(self, certificate_pem: bytes) -> Principal:
        return Principal("device", DEVICE)

    def authenticate_device(self, device_id: str) -> Principal:
        return Principal("device", DEVICE)

    def authenticate_admin(self, token: str) -> Principal:
        raise AssertionError("not used")

    # ---- SessionSink ----

    def session_opened(self, session: DeviceSession) -> None:
        with self._changed:
            self._session = session
            self._changed.notify_all()
        if self._envelope is not None:
            session.send(ControllerMessage(Desired(self._envelope)))

    def session_closed(self, session: DeviceSession, reason: str) -> None:
        with self._changed:
            if self._session is session:
                self._session = None
            self._changed.notify_all()

    def messages_received(self, session: DeviceSession, messages: Sequence[AgentMessage]) -> None:
        with self._changed:
            for message in messages:
                if isinstance(message.body, Report):
                    self._take_report(session, message.body)
                elif isinstance(message.body, ReportedState):
                    self.reported.append(message.body)
                elif isinstance(message.body, Hello):
                    self.inventories.append(message.body.inventory)
            self._changed.notify_all()

    def _take_report(self, session: DeviceSession, report: Report) -> None:
        self.deliveries += 1
        if not self.acknowledges:
            return
        key = (report.request_id, report.attempt, report.sequence)
        assert self.reports.get(key, report) == report, "one key, two contents"
        self.reports[key] = report
        session.send(ControllerMessage(ReportAck(*key)))

    def read_artifact(self, device_id: str, sha256: str, offset: int, length: int) -> tuple[bytes, int]:
        content = self.artifacts.get(sha256)
        if content is None:
            raise NotFoundError(f"no artifact {sha256[:12]}")
        piece = content[offset : offset + length]
        self.served_bytes += len(piece)
        if self.corrupt_next and len(content) > 100_000:
            self.corrupt_next = False
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        return piece, len(content)

    def join(self, request: JoinRequest) -> JoinResponse:
        raise PermanentError("not used")

    def renew(self, device_id: str, csr_pem: bytes) -> RenewResponse:
        raise PermanentError("not used")

    # ---- what the test says ----

    def add(self, content: bytes) -> ArtifactRef:
        sha256 = hashlib.sha256(content).hexdigest()
        self.artifacts[sha256] = content
        return ArtifactRef(sha256, len(content))

    def variant(
        self, name: str, width: int, seed: int = 1, golden_shift: float = 0.0, model_id: str = "net", padding: int = 0
    ) -> VariantManifest:
        """A small network with goldens and an evaluation set; ``padding`` makes the file larger."""
        content = model_bytes(width, seed, padding)
        rows = np.random.default_rng(7).standard_normal((16, 64)).astype(np.float32)
        outputs = reference(width, seed, rows)
        golden = npz(in_x=rows[:8], out_y=outputs[:8] + np.float32(golden_shift))
        evaluation = npz(x_x=rows, ref_y=outputs, y=outputs.argmax(1).astype(np.int64))
        return VariantManifest(
            variant_id=f"{model_id}.v1.{name}",
            model_id=model_id,
            model_version=1,
            name=name,
            artifact=self.add(content),
            format=Format.ONNX,
            precision="fp32",
            signature=SIGNATURE,
            binding=identity_binding(SIGNATURE, (INPUT,), (OUTPUT,)),
            golden=self.add(golden),
            golden_max_abs_error=1e-3,
            evaluation=self.add(evaluation),
        )

    def model(self, *manifests: VariantManifest, grant: ServingGrant | None = None) -> DesiredModel:
        signed = tuple(self.authority.signer.sign(VARIANT_MANIFEST, codec.encode(item)) for item in manifests)
        return DesiredModel(manifests[0].model_id, 1, signed, grant)

    def want(self, *models: DesiredModel, **more: object) -> int:
        """Publish the next desired state; returns its version."""
        self.version += 1
        state = replace(DesiredState(FLEET, DEVICE, 1, self.version, time.time_ns(), models), **more)
        self._envelope = self.authority.signer.sign(DESIRED_STATE, codec.encode(state))
        with self._changed:
            session = self._session
        if session is not None:
            session.send(ControllerMessage(Desired(self._envelope)))
        return self.version

    def forge(self, foreign: X509Authority) -> None:
        """Say something newer in the name of another fleet's key."""
        state = DesiredState(FLEET, DEVICE, 99, 10**9, time.time_ns())
        with self._changed:
            session = self._session
        if session is not None:
            envelope = foreign.signer.sign(DESIRED_STATE, codec.encode(state))
            session.send(ControllerMessage(Desired(envelope)))

    # ---- what the test waits for ----

    def wait(self, is_true: Callable[[], bool], timeout_s: float = 60.0, what: str = "") -> None:
        with self._changed:
            if not self._changed.wait_for(is_true, timeout_s):
                last = self.reported[-1] if self.reported else None
                raise AssertionError(f"{what or 'it'} did not happen within {timeout_s:.0f} s; last reported: {last}")

    def wait_converged(self, version: int, timeout_s: float = 60.0) -> ReportedState:
        def is_converged() -> bool:
            last = self.reported[-1] if self.reported else None
            return last is not None and last.desired_version == version and last.is_converged

        self.wait(is_converged, timeout_s, f"convergence to version {version}")
        return self.reported[-1]

    def wait_settled(self, version: int, timeout_s: float = 60.0) -> ReportedState:
        """Converged, or the deployment is concluded."""

        def is_settled() -> bool:
            last = self.reported[-1] if self.reported else None
            if last is None or last.desired_version != version:
                return False
            return last.is_converged or any("ROLLED_BACK" in item.state.name for item in last.serving)

        self.wait(is_settled, timeout_s, f"an end of version {version}")
        return self.reported[-1]

    def wait_online(self, timeout_s: float = 60.0) -> None:
        self.wait(lambda: self._session is not None, timeout_s, "a session")


@dataclass
class AgentProcess:
    """``muster-agent run`` on a state folder of its own."""

    state: Path
    url: str
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, log_level: str = "debug") -> None:
        with (self.state / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "muster_agent", "run", "--state", str(self.state)),
                    *("--link", self.url, "--log-level", log_level),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def log(self) -> str:
        return (self.state / "agent.log").read_text()


def configuration(manifest: VariantManifest) -> Configuration:
    return Configuration(manifest.variant_id, "onnxruntime", "cpu", 1)


def grant(deployment_id: str, *ladder: VariantManifest, is_committed: bool = True) -> ServingGrant:
    rungs = tuple(Rung(configuration(item), 200_000, 400_000, 0.9) for item in ladder)
    return ServingGrant(deployment_id, rungs, Slo(1_000_000_000, 95.0), is_committed=is_committed)


def weights(width: int, seed: int) -> list[np.ndarray]:
    source = np.random.default_rng(seed)
    return [
        (source.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32) for shape in ((64, width), (width, 4))
    ]


def reference(width: int, seed: int, rows: np.ndarray) -> np.ndarray:
    first, second = weights(width, seed)
    return np.maximum(rows @ first, 0) @ second


def model_bytes(width: int, seed: int, padding: int) -> bytes:
    first, second = weights(width, seed)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w1"], ["y"]),
        ],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(first, "w0"), numpy_helper.from_array(second, "w1")],
        doc_string="".join(chr(97 + byte % 26) for byte in np.random.default_rng(seed).bytes(padding)),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


def npz(**arrays: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Every test names its links: ``@pytest.mark.parametrize("lab", ["grpc", "mqtt"], indirect=True)``."""
    link_name = request.param
    if link_name == "mqtt":
        request.getfixturevalue("mosquitto")
    folder = tmp_path / "controller"
    folder.mkdir()
    built = Lab(folder, open_authority(folder, FLEET), link_name)
    yield built
    built.close()


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    state = tmp_path / "agent"
    state.mkdir(mode=0o700)
    identities = IdentityFolder(state / "identity")
    identities.create()
    certificate, _, _ = lab.authority.issue_device_certificate(make_request(identities.key_path), DEVICE)
    links = (lab.url,)
    identities.write(Identity(FLEET, DEVICE, certificate, lab.authority.ca_pem(), lab.authority.signing_keys(), links))
    made = AgentProcess(state, lab.url)
    yield made
    made.stop()
    end_children(state)


def end_children(state: Path) -> None:
    """Serving children outlive a killed agent by ten seconds; end those of this state folder now."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"muster_agent.serving" in command and str(state).encode() in command:
            os.kill(int(path.parent.name), signal.SIGKILL)


class Helpers:
    """What tests need beside the fixtures."""

    FLEET = FLEET

    configuration = staticmethod(configuration)
    grant = staticmethod(grant)
    reference = staticmethod(reference)
    end_children = staticmethod(end_children)

    @staticmethod
    def status_kib(pid: int, name: str) -> int:
        """A line of /proc/<pid>/status, such as VmRSS."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    @staticmethod
    def eventually(is_true: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Poll something that lives in another process."""
        deadline_s = time.monotonic() + timeout_s
        waiting = threading.Event()
        while True:
            try:
                if is_true():
                    return
            except OSError as error:
                last = str(error)  # the error itself would hold this frame, and its open answer, until collected
            else:
                last = "false"
            if time.monotonic() > deadline_s:
                raise AssertionError(f"not within {timeout_s:.0f} s; last: {last}")
            waiting.wait(0.1)


@pytest.fixture
def e2e() -> Helpers:
    return Helpers()
