"""A daemon on fakes, a real database and a real folder, driven turn by turn on a manual clock."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.daemon.runner import InlineRunner
from muster_agent.testing import (
    FakeLink,
    FakeLoad,
    FakeMeasurer,
    FakeSensors,
    FakeServed,
    FakeVerifier,
    ManualClock,
    sign_manifest,
)
from muster_protos.model import (
    ArtifactRef,
    Configuration,
    DesiredModel,
    DesiredState,
    Inventory,
    Rung,
    ServingGrant,
    Slo,
    VariantManifest,
)

NAMES = ("fp32", "int8")


@dataclass
class House:
    """One device; ``restart`` is what a kill and a new start leave of it."""

    folder: Path
    link: FakeLink = field(default_factory=FakeLink)
    clock: ManualClock = field(default_factory=ManualClock)
    verifier: FakeVerifier = field(default_factory=FakeVerifier)
    measurer: FakeMeasurer = field(default_factory=FakeMeasurer)
    served: FakeServed = field(default_factory=FakeServed)
    load: FakeLoad = field(default_factory=FakeLoad)
    sensors: FakeSensors = field(default_factory=FakeSensors)
    version: int = 0
    noted: list[dict[str, str]] = field(default_factory=list)  # active variants by model, each change

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.state = SqliteState(self.folder / "agent.sqlite3")
        self.cache = FolderCache(self.folder)
        parts = Parts(
            state=self.state,
            cache=self.cache,
            verifier=self.verifier,
            link=self.link,
            clock=self.clock,
            measurer=self.measurer,
            served=self.served,
            load=self.load,
            sensors=self.sensors,
            inventory=lambda: Inventory(device_id="pi"),
            random=random.Random(1),
            note_serving=lambda active: self.noted.append(dict(active)),
        )
        self.daemon = Daemon(parts, Settings("pi", "lab", "boot-1"), InlineRunner())
        self.daemon.start()

    def restart(self) -> None:
        """SIGKILL, then a new process: nothing but the disk is left."""
        self.state.close()
        self.served.up.clear()
        self.boot()

    def settle(self, turns: int = 60) -> None:
        """Turn until nothing happens any more; time stands still."""
        for _ in range(turns):
            self.daemon.turn()
            if not self.daemon.inbox.wake.is_set():
                return
        raise AssertionError("the daemon does not come to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of a second."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.settle()

    # ---- what the controller has ----

    def artifact(self, text: str) -> ArtifactRef:
        content = text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        self.link.artifacts[sha256] = content
        return ArtifactRef(sha256, len(content))

    def manifest(self, name: str, model_id: str = "digits", content: str = "") -> VariantManifest:
        return VariantManifest(
            variant_id=f"{model_id}.v1.{name}",
            model_id=model_id,
            model_version=1,
            name=name,
            artifact=self.artifact(content or f"weights of {model_id} {name}"),
            golden=self.artifact(f"goldens of {model_id} {name}"),
            evaluation=self.artifact(f"evaluation of {model_id}"),
        )

    def grant(self, deployment_id: str, names: tuple[str, ...] = NAMES, model_id: str = "digits") -> ServingGrant:
        ladder = tuple(Rung(configuration(name, model_id), 1_000_000, 2_000_000, 0.9) for name in names)
        return ServingGrant(deployment_id=deployment_id, ladder=ladder, slo=Slo(9_000_000, 95.0))

    def desired(
        self, grant: ServingGrant | None = None, names: tuple[str, ...] = NAMES, **more: object
    ) -> DesiredState:
        """The next version: one model, perhaps served."""
        self.version += 1
        manifests = tuple(sign_manifest(self.manifest(name)) for name in names)
        state = DesiredState(
            fleet_id="lab",
            device_id="pi",
            epoch=1,
            version=self.version,
            models=(DesiredModel("digits", 1, manifests, grant),),
        )
        return replace(state, **more)

    def want(self, grant: ServingGrant | None = None, names: tuple[str, ...] = NAMES, **more: object) -> None:
        self.link.deliver(self.desired(grant, names, **more))
        self.settle()

    def events(self) -> list[str]:
        return [report.body.kind for report in self.state.reports(0, 1000) if hasattr(report.body, "kind")]


def configuration(name: str, model_id: str = "digits") -> Configuration:
    return Configuration(f"{model_id}.v1.{name}", "onnxruntime", "cpu", 1)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.state.close()


@pytest.fixture
def online(house: House) -> House:
    house.link.come_up()
    house.settle()
    return house
