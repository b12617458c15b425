"""The sessions that are open right now."""

from __future__ import annotations

import threading

from muster_controller.ports import DeviceSession
from muster_protos.model import ControllerMessage


class LiveSessions:
    """At most one session per device; a newer one replaces the older."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_device: dict[str, DeviceSession] = {}

    def add(self, session: DeviceSession) -> DeviceSession | None:
        """Register it and return the one it replaces."""
        with self._lock:
            replaced = self._by_device.get(session.device_id)
            self._by_device[session.device_id] = session
            return replaced

    def discard(self, session: DeviceSession) -> bool:
        """Forget it; False when a newer session of the device has taken its place already."""
        with self._lock:
            if self._by_device.get(session.device_id) is not session:
                return False
            del self._by_device[session.device_id]
            return True

    def get(self, device_id: str) -> DeviceSession | None:
        with self._lock:
            return self._by_device.get(device_id)

    def send(self, device_id: str, message: ControllerMessage) -> bool:
        """Queue ``message``; False when the device has no session."""
        session = self.get(device_id)
        if session is None:
            return False
        session.send(message)
        return True

    def close(self, device_id: str, reason: str, is_revoked: bool = False) -> None:
        session = self.get(device_id)
        if session is not None:
            session.close(reason, is_revoked)

    def close_all(self, reason: str) -> None:
        with self._lock:
            sessions = tuple(self._by_device.values())
        for session in sessions:
            session.close(reason)

    def count(self) -> int:
        with self._lock:
            return len(self._by_device)
