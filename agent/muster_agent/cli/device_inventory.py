"""The inventory of this device, with the runtimes that really infer: proved in the background, once per start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster_devices.emulation import Emulator
from muster_devices.probe import probe_inventory
from muster_protos.model import Inventory, Isolation, RuntimeSupport

AGENT_VERSION = "0.1.0"
_PROOF_TIMEOUT_S = 120.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceInventory:
    """Asks the device anew at each call; waits for the proof of the runtimes at the first."""

    device_id: str
    state_dir: Path | None = None
    emulator: Emulator | None = None
    links: tuple[str, ...] = ("grpc",)
    labels: Mapping[str, str] = field(default_factory=dict)
    proof: RuntimeProof | None = None

    def __call__(self) -> Inventory:
        return probe_inventory(
            self.device_id,
            AGENT_VERSION,
            emulation=self.emulator.describe() if self.emulator else None,
            emulated_memory_bytes=self.emulator.memory_limit_bytes if self.emulator else None,
            isolation=self.emulator.isolation if self.emulator else Isolation.RLIMIT,
            links=self.links,
            runtimes=self.proof.wait() if self.proof else (),
            labels=self.labels,
            state_dir=self.state_dir,
        )


class RuntimeProof:
    """Runs the probe children in a thread: serving must not wait for them after a reboot."""

    def __init__(self) -> None:
        self._found: tuple[RuntimeSupport, ...] = ()
        self._thread = threading.Thread(target=self._run, name="runtime-proof", daemon=True)
        self._thread.start()

    def wait(self) -> tuple[RuntimeSupport, ...]:
        """What was found; blocks until the children have ended."""
        self._thread.join(_PROOF_TIMEOUT_S)
        return self._found

    def _run(self) -> None:
        from muster_bench.probe_runtimes import probe_runtimes

        self._found = probe_runtimes()
        for runtime in self._found:
            state = ", ".join(runtime.providers) if runtime.providers else f"not usable: {runtime.unavailable_reason}"
            log.info("runtime %s %s: %s", runtime.name, runtime.version, state)
