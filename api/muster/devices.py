"""The fleet's devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from muster.connection import Connection
from muster.view import View


class Device(View):
    """A joined device."""

    @property
    def id(self) -> str:
        return str(self.fields["device_id"])

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.fields["labels"]
        return labels

    @property
    def is_online(self) -> bool:
        return bool(self.fields["presence"] == "online")

    @property
    def is_emulated(self) -> bool:
        return self.fields["inventory"]["emulation"] is not None


class Devices:
    """``fleet.devices``: iterate, look up, name, label, remove."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[Device]:
        return iter(self.list())

    def list(self, labels: Mapping[str, str] | None = None) -> list[Device]:
        pairs = [f"{key}={value}" for key, value in (labels or {}).items()]
        return [Device(fields) for fields in self._connection.items("/v1/devices", label=pairs, limit=1000)]

    def get(self, device: str) -> Device:
        """By id or name. NotFoundError suggests the nearest ones."""
        return Device(self._connection.get(f"/v1/devices/{quoted(device)}"))

    def rename(self, device: str, name: str) -> Device:
        return Device(self._connection.patch(f"/v1/devices/{quoted(device)}", {"name": name}))

    def tag(self, device: str, labels: Mapping[str, str], remove: Sequence[str] = ()) -> Device:
        body = {"labels": dict(labels), "remove_labels": [*remove]}
        return Device(self._connection.patch(f"/v1/devices/{quoted(device)}", body))

    def remove(self, device: str) -> Device:
        """Revoke its identity; it must join again to come back."""
        return Device(self._connection.delete(f"/v1/devices/{quoted(device)}"))


def quoted(name: str) -> str:
    """A name as one path segment."""
    from urllib.parse import quote

    return quote(name, safe=":")


def target_names(devices: str | Sequence[str] | Device | Sequence[Device]) -> list[str]:
    """``"all"``, one id, one device, or several of either, as ids; all = the empty list."""
    if isinstance(devices, str):
        return [] if devices == "all" else [devices]
    if isinstance(devices, Device):
        return [devices.id]
    return [item.id if isinstance(item, Device) else item for item in devices]
