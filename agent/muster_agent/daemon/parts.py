"""What a daemon is made of; the command line wires it, tests hand in fakes."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from muster_agent.core.link_state import LinkState
from muster_agent.ports import (
    ArtifactCache,
    Clock,
    DeviceSensors,
    Link,
    LoadRunner,
    Measurer,
    OwnIdentity,
    ServedModels,
    StateStore,
    Verifier,
)
from muster_devices.descriptors import free_descriptors
from muster_protos.model import Inventory


@dataclass(frozen=True, slots=True)
class Settings:
    """Who this device is, and the daemon's patience."""

    device_id: str
    fleet_id: str
    boot_id: str
    memory_limit_bytes: int | None = None  # of a serving child
    ready_timeout_s: float = 60.0  # from a grant to LocalReady
    healthy_after_s: float = 30.0  # a trial that was up so long has started well
    resend_after_s: float = 30.0  # an unacknowledged report is sent again
    telemetry_kept: int = 600  # samples; the oldest is dropped


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports."""

    state: StateStore
    cache: ArtifactCache
    verifier: Verifier
    link: Link
    clock: Clock
    measurer: Measurer
    served: ServedModels
    load: LoadRunner
    sensors: DeviceSensors
    inventory: Callable[[], Inventory]  # called by the loop: answers with what is known and never waits
    random: random.Random = field(default_factory=random.Random)
    free_descriptors: Callable[[], int | None] = free_descriptors
    identity: OwnIdentity | None = None  # None: certificate and keys stay what they are
    note_link: Callable[[LinkState], None] = lambda _: None  # for status and doctor; called by the loop, never raises
    note_serving: Callable[[Mapping[str, str]], None] = lambda _: None  # active variants by model; likewise
    run_id: str = field(default_factory=lambda: secrets.token_hex(16))  # of this process, never written down
