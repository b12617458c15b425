"""The inventory of this device, with the runtimes that really infer: proved in the background, once per start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster_agent.version import agent_version
from muster_devices.emulation import Emulator
from muster_devices.probe import probe_inventory
from muster_protos import codec
from muster_protos.errors import InvalidInputError
from muster_protos.model import Inventory, Isolation, RuntimeSupport

AGENT_VERSION = agent_version()
_PROOF_TIMEOUT_S = 120.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceInventory:
    """Asks the device anew at each call; either waits for the proof of the runtimes or says what is known so far."""

    device_id: str
    state_dir: Path | None = None
    emulator: Emulator | None = None
    links: tuple[str, ...] = ("grpc",)
    labels: Mapping[str, str] = field(default_factory=dict)
    proof: RuntimeProof | None = None
    waits: bool = True

    def __call__(self) -> Inventory:
        return probe_inventory(
            self.device_id,
            AGENT_VERSION,
            emulation=self.emulator.describe() if self.emulator else None,
            emulated_memory_bytes=self.emulator.memory_limit_bytes if self.emulator else None,
            isolation=self.emulator.isolation if self.emulator else Isolation.RLIMIT,
            links=self.links,
            runtimes=self._runtimes(),
            labels=self.labels,
            state_dir=self.state_dir,
        )

    def _runtimes(self) -> tuple[RuntimeSupport, ...]:
        if self.proof is None:
            return ()
        return self.proof.wait() if self.waits else self.proof.known


class RuntimeProof:
    """Runs the probe children in a thread: serving must not wait for them after a reboot.

    What an earlier proof found is kept in ``path``, so that a device that starts again is not one without runtimes
    until its new proof has ended.
    """

    def __init__(self, path: Path | None = None, prove: Callable[[], tuple[RuntimeSupport, ...]] | None = None) -> None:
        self._path = path
        self._prove = prove or _probe
        self._known = self._read()
        self._on_change: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="runtime-proof", daemon=True)
        self._thread.start()

    @property
    def known(self) -> tuple[RuntimeSupport, ...]:
        """What was found, or while the children run what an earlier proof had found; never blocks."""
        return self._known

    def wait(self) -> tuple[RuntimeSupport, ...]:
        """What was found; blocks until the children have ended."""
        self._thread.join(_PROOF_TIMEOUT_S)
        return self._known

    def when_changed(self, call: Callable[[], None]) -> None:
        """Have ``call`` called from the proof's thread when it ends with something else than ``known`` says now."""
        self._on_change = call

    def _run(self) -> None:
        found = self._prove()
        for runtime in found:
            state = ", ".join(runtime.providers) if runtime.providers else f"not usable: {runtime.unavailable_reason}"
            log.info("runtime %s %s: %s", runtime.name, runtime.version, state)
        is_new = found != self._known
        self._known = found
        if is_new:
            self._write(found)
        if is_new and self._on_change is not None:
            self._on_change()

    def _read(self) -> tuple[RuntimeSupport, ...]:
        if self._path is None:
            return ()
        try:
            return codec.decode(Inventory, self._path.read_bytes()).runtimes
        except (OSError, InvalidInputError):
            return ()  # the first start, or a torn file: the proof tells soon

    def _write(self, found: tuple[RuntimeSupport, ...]) -> None:
        if self._path is None or not self._path.parent.is_dir():
            return
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(codec.encode(Inventory(runtimes=found)))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("what the runtimes can do is not kept: %s", error.strerror)


def _probe() -> tuple[RuntimeSupport, ...]:
    from muster_bench.probe_runtimes import probe_runtimes

    return tuple(probe_runtimes())
