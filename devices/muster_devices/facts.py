"""What this device is: the facts that do not change while it is up."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import replace
from pathlib import Path

from muster_devices.cgroups import cpu_quota_cores, memory_headroom_bytes, memory_limit_bytes
from muster_devices.cpu_names import cpu_model
from muster_devices.profiles import match_profile
from muster_devices.tree import exists, read_text
from muster_protos.model import DeviceFacts, Emulation

_ACCELERATORS = (
    ("dev/nvhost-gpu", "NVIDIA Tegra GPU"),
    ("dev/nvgpu", "NVIDIA Tegra GPU"),
    ("proc/driver/nvidia/version", "NVIDIA GPU"),
    ("dev/hailo0", "Hailo"),
    ("dev/apex_0", "Coral Edge TPU"),
)
_MODEL_FILES = ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
_COMPATIBLE_FILES = ("proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible")


def device_facts(
    root: Path = Path("/"),
    *,
    device_id: str = "",
    emulation: Emulation | None = None,
    emulated_memory_bytes: int | None = None,
) -> DeviceFacts:
    """What a benchmark record says of the device.

    Cores and memory are those that this process may use: affinity, cgroup quotas and limits are respected. An emulated
    device has the class of its profile and never more memory than ``emulated_memory_bytes``; CPU model, operating
    system and kernel stay the host's own, because they are what ran.
    """
    facts = DeviceFacts(
        device_id=device_id,
        soc=soc(root),
        cpu_model=cpu_model(root),
        cores=usable_cores(root),
        ram_bytes=_least(usable_ram_bytes(root), emulated_memory_bytes),
        os=os_name(root),
        kernel=read_text(root, "proc/sys/kernel/osrelease") or os.uname().release,
        accelerator=accelerator(root),
    )
    device_class = match_profile(facts, board_model(root)).name if emulation is None else emulation.profile
    return replace(facts, device_class=device_class)


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use at once: its affinity, and its CPU quota rounded up; at least 1."""
    allowed = _count_list(_status_field(root, "Cpus_allowed_list")) or os.cpu_count() or 1
    quota = cpu_quota_cores(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def usable_ram_bytes(root: Path = Path("/")) -> int | None:
    """Physical memory, or the cgroup limit where that is lower."""
    return _least(_meminfo_bytes(root, "MemTotal"), memory_limit_bytes(root))


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can still be had without swapping, within the cgroup limit."""
    return _least(_meminfo_bytes(root, "MemAvailable"), memory_headroom_bytes(root))


def os_name(root: Path = Path("/")) -> str:
    """PRETTY_NAME of os-release, "Android" where only its files tell, else the kernel's name."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        for line in (read_text(root, path) or "").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")
    return "Android" if exists(root, "system/build.prop") else os.uname().sysname


def arch(root: Path = Path("/")) -> str:
    """The machine that wheels must fit: a 32-bit userland on a 64-bit ARM kernel is armv7l."""
    machine = read_text(root, "proc/sys/kernel/arch") or os.uname().machine
    return "armv7l" if machine == "aarch64" and struct.calcsize("P") == 4 else machine


def board_model(root: Path = Path("/")) -> str:
    """The board's or product's own name ("Raspberry Pi 4 Model B Rev 1.4"), "" when it has none."""
    return next((text for path in _MODEL_FILES if (text := read_text(root, path))), "")


def soc(root: Path = Path("/")) -> str:
    """The system on chip, from the most general entry of the device tree's ``compatible``; "" without a tree."""
    for path in _COMPATIBLE_FILES:
        entries = [entry for entry in (read_text(root, path) or "").split("\0") if entry]
        if entries:
            return entries[-1].rpartition(",")[2]
    return ""


def accelerator(root: Path = Path("/")) -> str:
    """What computes besides the CPU, as far as device files tell; "" when nothing does."""
    return next((name for path, name in _ACCELERATORS if exists(root, path)), "")


def _status_field(root: Path, name: str) -> str:
    for line in (read_text(root, "proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _count_list(text: str) -> int:
    """How many numbers a kernel list such as ``0-3,8`` names."""
    count = 0
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _meminfo_bytes(root: Path, name: str) -> int | None:
    for line in (read_text(root, "proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
