"""Devices and their labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from muster_controller.adapters.store_sqlalchemy.paging import change_one, one, page_of
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import DEVICE_LABELS, DEVICES
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.entities import Device, Presence, Standing
from muster_controller.ports import Page
from muster_protos import codec
from muster_protos.model import Inventory, ReportedState

_DEVICE = RowShape(Device, without=("labels",))
# What a device that joins again keeps: its place in people's minds. The rest is new.
_KEPT_ON_REJOIN = ("name", "joined_at_ns", "presence", "link", "last_seen_ns", "reported")

# Built once: composing a statement costs more than running it.
_MINE = DEVICES.c.device_id == bindparam("b_device")
_ONE = select(DEVICES).where(_MINE)
_STANDING = select(DEVICES.c.public_key_sha256, DEVICES.c.is_revoked).where(_MINE)
_INVENTORY = select(DEVICES.c.inventory).where(_MINE)
_CHANGE = update(DEVICES).where(_MINE)
_LABELS = select(DEVICE_LABELS).where(DEVICE_LABELS.c.device_id == bindparam("b_device")).order_by(DEVICE_LABELS.c.key)


class DeviceRows(Transactions):
    """Tables ``devices`` and ``device_labels``."""

    def put_device(self, device: Device) -> None:
        row = _DEVICE.row(device)
        mine = DEVICES.c.device_id == device.device_id
        with self._writing() as connection:
            if connection.execute(select(DEVICES.c.device_id).where(mine)).first() is None:
                connection.execute(insert(DEVICES).values(row))
                _put_labels(connection, device.device_id, device.labels)
            else:
                changed = {name: value for name, value in row.items() if name not in _KEPT_ON_REJOIN}
                connection.execute(update(DEVICES).where(mine).values(changed))

    def get_device(self, device_id: str) -> Device:
        with self._reading() as connection:
            row = one(connection, _ONE, f"device {device_id!r}", {"b_device": device_id})
            labels = connection.execute(_LABELS, {"b_device": device_id}).mappings().all()
            return _DEVICE.value(row, labels={label["key"]: label["value"] for label in labels})

    def get_standing(self, device_id: str) -> Standing:
        with self._reading() as connection:
            row = one(connection, _STANDING, f"device {device_id!r}", {"b_device": device_id})
        return Standing(row["public_key_sha256"], bool(row["is_revoked"]))

    def list_devices(self, labels: Mapping[str, str] | None = None, cursor: str = "", limit: int = 100) -> Page[Device]:
        query = select(DEVICES)
        for key, value in (labels or {}).items():
            mine = DEVICE_LABELS.c.device_id == DEVICES.c.device_id
            query = query.where(exists().where(mine, DEVICE_LABELS.c.key == key, DEVICE_LABELS.c.value == value))
        with self._reading() as connection:
            page = page_of(
                connection, query, DEVICES.c.device_id, cursor, limit, lambda row: _DEVICE.value(row, labels={})
            )
            by_device = _labels_of(connection, [device.device_id for device in page.items])
        items = tuple(replace(device, labels=by_device[device.device_id]) for device in page.items)
        return Page(items, page.next_cursor)

    def revoke_device(self, device_id: str) -> None:
        self._change(device_id, is_revoked=True)

    def rename_device(self, device_id: str, name: str) -> None:
        self._change(device_id, name=name)

    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> None:
        with self._writing() as connection:
            one(
                connection, select(DEVICES.c.device_id).where(DEVICES.c.device_id == device_id), f"device {device_id!r}"
            )
            connection.execute(delete(DEVICE_LABELS).where(DEVICE_LABELS.c.device_id == device_id))
            _put_labels(connection, device_id, labels)

    def get_inventory(self, device_id: str) -> Inventory:
        with self._reading() as connection:
            row = one(connection, _INVENTORY, f"device {device_id!r}", {"b_device": device_id})
        return codec.decode(Inventory, row["inventory"])

    def put_inventory(self, device_id: str, inventory: Inventory, clock_offset_ns: int | None = None) -> None:
        offset = {} if clock_offset_ns is None else {"clock_offset_ns": clock_offset_ns}
        self._change(device_id, inventory=codec.encode(inventory), **offset)

    def reset_presence(self, at_ns: int) -> None:
        online = DEVICES.c.presence == Presence.ONLINE.value
        seen_ns = func.coalesce(func.nullif(DEVICES.c.last_seen_ns, 0), at_ns)
        with self._writing() as connection:
            connection.execute(
                update(DEVICES).where(online).values(presence=Presence.OFFLINE.value, last_seen_ns=seen_ns)
            )

    def put_presence(self, device_id: str, presence: Presence, link: str, at_ns: int) -> None:
        self._change(device_id, presence=presence.value, link=link, last_seen_ns=at_ns)

    def put_reported(self, device_id: str, reported: ReportedState, at_ns: int) -> None:
        self._change(device_id, reported=codec.encode(reported), last_seen_ns=at_ns)

    def put_certificate(self, device_id: str, serial: str) -> None:
        self._change(device_id, certificate_serial=serial)

    def put_clock_offset(self, device_id: str, offset_ns: int) -> None:
        self._change(device_id, clock_offset_ns=offset_ns)

    def put_cloned(self, device_id: str, at_ns: int) -> None:
        self._change(device_id, cloned_at_ns=at_ns)

    def _change(self, device_id: str, **columns: Any) -> None:
        with self._writing() as connection:
            change_one(connection, _CHANGE, f"device {device_id!r}", {"b_device": device_id, **columns})


def _put_labels(connection: Connection, device_id: str, labels: Mapping[str, str]) -> None:
    rows = [{"device_id": device_id, "key": key, "value": value} for key, value in labels.items()]
    if rows:
        connection.execute(insert(DEVICE_LABELS), rows)


def _labels_of(connection: Connection, device_ids: Iterable[str]) -> Mapping[str, dict[str, str]]:
    query = select(DEVICE_LABELS).where(DEVICE_LABELS.c.device_id.in_(list(device_ids))).order_by(DEVICE_LABELS.c.key)
    labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(query).mappings():
        labels[row["device_id"]][row["key"]] = row["value"]
    return labels
