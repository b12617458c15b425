"""A whole service in memory, with devices that say what they are told to: for tests and for trying things out."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster_compression.dataset.load import check_builtin
from muster_compression.floor import check_reachable, parse_floor
from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_controller.core.entities import Device, DeviceRequest
from muster_controller.ports import Store
from muster_controller.service.context import Context
from muster_controller.service.fleet import ensure_fleet
from muster_controller.service.service import Service
from muster_controller.service.workshop import (
    CompressOrder,
    ImportOrder,
    MadeVariant,
    NotMade,
    OnProgress,
    Product,
    VariantOrder,
    is_recipe_text,
)
from muster_controller.testing import ManualClock, MemoryChangeFeed, MemoryStore
from muster_protos import codec
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.ids import variant_id
from muster_protos.model import (
    Accuracy,
    AgentMessage,
    ArtifactRef,
    BenchmarkRecord,
    ControllerMessage,
    Desired,
    DesiredState,
    DeviceFacts,
    Format,
    Hello,
    Inventory,
    Latency,
    RecordState,
    Report,
    ReportAck,
    RuntimeSupport,
    Signature,
    TensorSpec,
    VariantManifest,
    Workload,
)

SIGNATURE = Signature(
    (TensorSpec("x", "float32", (1, 4)),),
    (TensorSpec("y", "float32", (1, 2)),),
    task="classification",
    metric="accuracy",
)
ONNXRUNTIME = RuntimeSupport("onnxruntime", "1.31.1", ("cpu",), ("onnx",))


@dataclass
class RecordingSession:
    """``ports.DeviceSession`` that keeps what was sent."""

    device_id: str
    link: str = "grpc"
    sent: list[ControllerMessage] = field(default_factory=list)
    closed: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def send(self, message: ControllerMessage) -> None:
        with self._changed:
            self.sent.append(message)
            self._changed.notify_all()

    def close(self, reason: str, is_revoked: bool = False) -> None:
        self.closed.append((reason, is_revoked))

    def acks(self) -> list[ReportAck]:
        return [message.body for message in self.sent if isinstance(message.body, ReportAck)]

    def wait_desired(self, above: int = 0, timeout_s: float = 10.0) -> DesiredState:
        """The newest desired state that was sent, once its version is above ``above``."""

        def newest() -> DesiredState | None:
            bodies = [m.body.envelope.payload for m in self.sent if isinstance(m.body, Desired)]
            states = [codec.decode(DesiredState, payload) for payload in bodies]
            return max((s for s in states if s.version > above), key=lambda s: s.version, default=None)

        with self._changed:
            found = self._changed.wait_for(lambda: newest() is not None, timeout_s)
            state = newest()
        if not found or state is None:
            raise AssertionError(f"no desired state above version {above} was sent")
        return state


class StubWorkshop:
    """``Workshop`` whose variants are the source's bytes with a suffix; bytes that start with ``bad`` are refused."""

    def check_builtin_data(self, name: str) -> None:
        check_builtin(name)

    def check_recipe(self, recipe: str, floor: str = "", baseline: Accuracy | None = None) -> None:
        if recipe not in ("quick", "edge") and not is_recipe_text(recipe):
            raise NotFoundError(f"no recipe {recipe!r}; there are edge, quick")
        wanted = parse_floor(floor)
        if baseline is not None:
            check_reachable(wanted, baseline)

    def import_model(
        self, order: ImportOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        _go_on(stop)
        on_progress(0.5, "reading")
        content = order.source.read_bytes()
        if content.startswith(b"bad"):
            raise InvalidInputError("expected an ONNX or TFLite file, found something else")
        evaluation = _file(out_folder, b"evaluation of " + content) if order.data or order.builtin_data else None
        manifest, files = _variant(out_folder, order.model_id, order.version, "fp32", "", content, evaluation)
        return Product(
            variants=(MadeVariant(manifest),),
            files=files,
            signature=SIGNATURE,
            evaluation=manifest.evaluation,
            is_labelled=evaluation is not None,
            notes=("the labels are class numbers",) if evaluation is not None else (),
        )

    def import_variant(
        self, order: VariantOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        _go_on(stop)
        on_progress(0.5, "binding")
        content = order.source.read_bytes()
        if content.startswith(b"stranger") and not order.is_forced:
            raise InvalidInputError("expected the baseline's answer on at least 50% of 100 samples, found 10.0%")
        made = self._from(order.parent.manifest, out_folder, [(order.name, content)])
        parent = order.parent_variant_id or order.parent.manifest.variant_id
        manifest = replace(made.variants[0].manifest, parent_variant_id=parent, recipe=order.recipe)
        return replace(made, variants=(MadeVariant(manifest),))

    def compress(
        self, order: CompressOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        _go_on(stop)
        if order.recipe != "quick" and not Path(order.recipe).is_file():
            raise InvalidInputError(f"expected a recipe, found {order.recipe}")
        on_progress(0.5, "quantising")
        content = order.parent.artifact_path.read_bytes()
        made = self._from(
            order.parent.manifest, out_folder, [("fp16", content + b" fp16"), ("int8", content + b" int8")]
        )
        kept, dropped = made.variants
        if order.floor == "0.999":
            kept = replace(kept, is_kept=False, dropped_reason="under 0.999")
        if order.recipe != "quick" and "prune" in Path(order.recipe).read_text():
            made = replace(
                made, not_made=(NotMade("pruned", "no layer to prune"),), notes=("calibrated on what judges",)
            )
        return replace(made, variants=(kept, replace(dropped, is_kept=False, dropped_reason="under the floor")))

    def _from(self, parent: VariantManifest, folder: Path, contents: list[tuple[str, bytes]]) -> Product:
        made = [
            _variant(folder, parent.model_id, parent.model_version, name, parent.variant_id, content, None)
            for name, content in contents
        ]
        return Product(
            variants=tuple(MadeVariant(replace(manifest, evaluation=parent.evaluation)) for manifest, _ in made),
            files=tuple(path for _, files in made for path in files),
        )


class ServiceLab:
    """A service over in-memory ports, and shortcuts that a test would otherwise repeat."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.clock = ManualClock()
        self.store: Store = MemoryStore() if store is None else store
        self.artifacts = FolderArtifactStore(folder / "artifacts")
        self.feed = MemoryChangeFeed()
        self.folder = folder
        fleet = ensure_fleet(self.store, self.clock, "lab")
        self.authority: X509Authority = open_authority(folder / "identity", fleet.fleet_id, self.clock.now_ns)
        self.context = Context(
            self.store, self.artifacts, self.feed, self.authority, self.clock, StubWorkshop(), folder
        )
        self.service = Service(self.context)
        self.service.start()

    def close(self) -> None:
        self.service.close()

    def add_device(self, device_id: str, labels: dict[str, str] | None = None, cores: int = 2) -> Device:
        """A joined device that has never been online."""
        inventory = Inventory(device_id=device_id, cores=cores, runtimes=(ONNXRUNTIME,))
        device = Device(device_id, device_id, self.clock.now_ns(), "1", "key of " + device_id, inventory, labels or {})
        self.store.put_device(device)
        return device

    def open_session(self, device_id: str) -> RecordingSession:
        """The device comes online and says hello."""
        session = RecordingSession(device_id)
        self.service.sessions.session_opened(session)
        inventory = replace(self.store.get_device(device_id).inventory, clock_ns=self.clock.now_ns())
        self.service.sessions.messages_received(session, [AgentMessage(Hello(inventory))])
        return session

    def add_model(self, model_id: str = "kws", content: bytes = b"onnx", is_labelled: bool = True) -> None:
        """A model version with its baseline and a kept fp16 variant."""
        with self.service.uploads.receive() as upload:
            upload.write(content)
        from muster_controller.service.models import NewModel

        order = NewModel(model_id, upload.upload_id, builtin_data="digits" if is_labelled else "")
        self.service.models.add(order)
        self.service.operations.wait_idle()
        self.service.models.compress(model_id, "quick")
        self.service.operations.wait_idle()

    def answer(
        self, session: RecordingSession, entry: DeviceRequest, p50_ms: float = 5.0, sequence: int = 1, **changes: object
    ) -> ReportAck:
        """The device reports a record for a request; its acknowledgement."""
        record = replace(self.record_for(entry, p50_ms), **changes)  # type: ignore[arg-type]
        report = Report(entry.request.request_id, entry.request.attempt, sequence, record)
        self.service.sessions.messages_received(session, [AgentMessage(report)])
        return session.acks()[-1]

    def record_for(self, entry: DeviceRequest, p50_ms: float = 5.0) -> BenchmarkRecord:
        """A believable record."""
        manifest = self.store.get_variant(entry.request.configuration.variant_id).manifest
        p50 = round(p50_ms * 1e6)
        latency = Latency(n=5000, min=p50 // 2, mean=p50, p50=p50, p90=p50 * 11 // 10, p95=p50 * 12 // 10)
        return BenchmarkRecord(
            schema_version=1,
            record_id=f"record-{entry.request.request_id}-{entry.request.attempt}",
            request_id=entry.request.request_id,
            attempt=entry.request.attempt,
            state=RecordState.VALID,
            device=DeviceFacts(device_id=entry.device_id),
            configuration=entry.request.configuration,
            model_id=entry.model_id,
            model_version=entry.model_version,
            artifact=manifest.artifact,
            format=manifest.format,
            latency=latency,
            accuracy=Accuracy(n=100, metric="accuracy", value=0.9, ci_low=0.85, ci_high=0.95, agreement=0.99),
            workload=Workload(tier=entry.request.tier),
        )


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise InterruptedError("stopped on request")


def _variant(
    folder: Path, model_id: str, version: int, name: str, parent: str, content: bytes, evaluation: Path | None
) -> tuple[VariantManifest, tuple[Path, ...]]:
    artifact, golden = _file(folder, content), _file(folder, b"golden of " + content)
    manifest = VariantManifest(
        variant_id=variant_id(model_id, version, name),
        model_id=model_id,
        model_version=version,
        name=name,
        parent_variant_id=parent,
        artifact=_ref(artifact),
        format=Format.ONNX,
        precision=name,
        signature=SIGNATURE,
        golden=_ref(golden),
        evaluation=_ref(evaluation) if evaluation else None,
    )
    return manifest, (artifact, golden, evaluation) if evaluation else (artifact, golden)


def _file(folder: Path, content: bytes) -> Path:
    path = folder / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return path


def _ref(path: Path) -> ArtifactRef:
    content = path.read_bytes()
    return ArtifactRef(hashlib.sha256(content).hexdigest(), len(content))
