"""muster device ls | show | tag | rename | rm"""

from __future__ import annotations

from typing import Annotated

import typer

from muster_controller.cli.options import Labels, Output, Yes, chosen, confirm, fleet
from muster_controller.cli.output import Format, Row, emit, emit_one, err, out, parse_pairs

app = typer.Typer(help="The devices of the fleet.", no_args_is_help=True)

COLUMNS = {
    "DEVICE": "device_id",
    "NAME": "name",
    "STATE": "presence",
    "LINK": "link",
    "CLASS": "inventory.device_class",
    "CPU": "inventory.cpu_model",
    "CORES": "inventory.cores",
    "RAM": "inventory.ram_bytes",
    "EMULATED": "inventory.emulation.profile",
    "CONVERGED": "reported.is_converged",
    "SEEN": "last_seen_ns",
    "CLONED": "cloned_at_ns",
    "LABELS": "labels",
}
DETAILS = {
    "id": "device_id",
    "name": "name",
    "labels": "labels",
    "state": "presence",
    "link": "link",
    "last seen": "last_seen_ns",
    "joined": "joined_at_ns",
    "cloned identity seen": "cloned_at_ns",
    "clock ahead by": "clock_offset_ns",
    "agent": "inventory.agent_version",
    "os": "inventory.os",
    "kernel": "inventory.kernel",
    "arch": "inventory.arch",
    "class": "inventory.device_class",
    "cpu": "inventory.cpu_model",
    "cores": "inventory.cores",
    "ram": "inventory.ram_bytes",
    "disk free": "inventory.disk_free_bytes",
    "isolation": "inventory.isolation",
    "emulated as": "inventory.emulation.profile",
    "emulated how": "inventory.emulation.how",
    "desired version": "reported.desired_version",
    "converged": "reported.is_converged",
    "why not": "reported.reason",
}
RUNTIMES = {
    "RUNTIME": "name",
    "VERSION": "version",
    "PROVIDERS": "providers",
    "FORMATS": "formats",
    "UNAVAILABLE": "unavailable_reason",
}
SERVING = {
    "MODEL": "model_id",
    "STATE": "state",
    "RUNG": "active_variant_id",
    "RESIDENT": "resident_variant_ids",
    "HTTP": "http_port",
    "GRPC": "grpc_port",
    "REASON": "reason",
}
Device = Annotated[str, typer.Argument(help="A device id or name.")]


@app.command("ls")
def ls(label: Labels = None, output: Output = None) -> None:
    """List devices."""
    with fleet() as found:
        devices = found.devices.list(parse_pairs(label or [], "a label"))
    nobody = f"no device with {', '.join(label)}" if label else "no device yet: muster token new"
    emit([device.fields for device in devices], chosen(output), COLUMNS, nobody)


@app.command("show")
def show(device: Device, output: Output = None) -> None:
    """Show what a device is, can do and serves."""
    with fleet() as found:
        fields = found.devices.get(device).fields
    emit_one(fields, chosen(output), DETAILS)
    if chosen(output) is Format.TABLE:
        _section("runtimes", fields["inventory"]["runtimes"], RUNTIMES)
        sensors = {"SENSOR": "kind", "NAME": "name", "UNAVAILABLE": "unavailable_reason"}
        _section("sensors", fields["inventory"]["sensors"], sensors)
        _section("serving", (fields["reported"] or {}).get("serving", []), SERVING)


@app.command("tag")
def tag(
    device: Device,
    labels: Annotated[list[str], typer.Argument(help="key=value to set; key- to remove.")],
    output: Output = None,
) -> None:
    """Set or remove labels."""
    removed = [label[:-1] for label in labels if label.endswith("-") and "=" not in label]
    pairs = parse_pairs([label for label in labels if label[:-1] not in removed or "=" in label], "a label")
    with fleet() as found:
        fields = found.devices.tag(device, pairs, removed).fields
    emit_one(fields, chosen(output), {"id": "device_id", "labels": "labels"})


@app.command("rename")
def rename(device: Device, name: str, output: Output = None) -> None:
    """Give a device a name for people; its id stays."""
    with fleet() as found:
        emit_one(found.devices.rename(device, name).fields, chosen(output), {"id": "device_id", "name": "name"})


@app.command("rm")
def rm(device: Device, yes: Yes = False) -> None:
    """Revoke a device's identity and close its streams; it must join again to come back."""
    with fleet() as found:
        fields = found.devices.get(device).fields
        confirm(f"remove {fields['device_id']} from the fleet?", yes)
        found.devices.remove(str(fields["device_id"]))
    err().print(f"{fields['device_id']} is removed; its agent stops coming back")


def _section(title: str, rows: list[Row], columns: dict[str, str]) -> None:
    if rows:
        out().print(f"\n{title}", style="bold")
        emit(rows, Format.TABLE, columns)
