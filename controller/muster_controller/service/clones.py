"""Two agents with one identity: seen, said, and shown at the device until it joins anew.

Nothing is taken from either: at most one of them has the session, both may renew and report, and a report under a
number that the other has used is refused with the reason instead of being taken for known (``core/unfold.TAKEN``).
"""

from __future__ import annotations

import threading
from collections.abc import Set

from muster_controller.core.clones import Runs, Sighting, seen_again
from muster_controller.ports import AddressedSession, DeviceSession
from muster_controller.service.context import Context
from muster_controller.service.events import Events
from muster_protos.model import Hello

_AGAIN_NS = 3600 * 10**9  # the two take turns for as long as nobody acts: one event an hour is enough


class Clones:
    """Remembers, since the start, which runs of each device's agent have spoken. Thread-safe."""

    def __init__(self, context: Context, events: Events) -> None:
        self._context = context
        self._events = events
        self._lock = threading.Lock()
        self._runs: dict[str, Runs] = {}
        self._told_ns: dict[str, int] = {}

    def keep_only(self, device_ids: Set[str]) -> None:
        """Forget all other devices."""
        with self._lock:
            self._runs = {key: runs for key, runs in self._runs.items() if key in device_ids}
            self._told_ns = {key: told_ns for key, told_ns in self._told_ns.items() if key in device_ids}

    def said_hello(self, session: DeviceSession, hello: Hello) -> None:
        """Record ``identity.cloned`` when this run and another one of the same device are both alive."""
        device_id = session.device_id
        address = session.address if isinstance(session, AddressedSession) else ""
        sighting = Sighting(hello.run_id[:64], hello.inventory.boot_id[:64], address)
        with self._lock:
            self._runs[device_id], other = seen_again(self._runs.get(device_id, Runs()), sighting)
            passed_ns = self._context.clock.monotonic_ns()
            is_new = other is not None and passed_ns - self._told_ns.get(device_id, -_AGAIN_NS) >= _AGAIN_NS
            if is_new:
                self._told_ns[device_id] = passed_ns
        if other is None:
            return
        self._context.store.put_cloned(device_id, self._context.clock.now_ns())
        if is_new:
            self._events.record(
                "identity.cloned",
                device_id,
                reason=f"two agents use the identity of {device_id}: {other.text()} and {sighting.text()}; "
                f"remove it (muster device rm {device_id}) and let each join by itself",
                details={
                    "address": sighting.address,
                    "boot": sighting.boot_id,
                    "run": sighting.run_id,
                    "other_address": other.address,
                    "other_boot": other.boot_id,
                    "other_run": other.run_id,
                },
            )
