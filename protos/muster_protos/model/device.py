"""What a device is and can do. Mirrors v1/device.proto, which documents the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Isolation(Enum):
    """The strongest sandbox that children get on this device."""

    UNSPECIFIED = "unspecified"
    NONE = "none"
    RLIMIT = "rlimit"
    CGROUP = "cgroup"
    SECCOMP = "seccomp"


@dataclass(frozen=True, slots=True)
class RuntimeSupport:
    """One way to execute a model on the device, proved by a real inference at probe time."""

    name: str = ""  # "onnxruntime", "litert"
    version: str = ""
    providers: tuple[str, ...] = ()  # "cpu", "xnnpack", "cuda", ...
    formats: tuple[str, ...] = ()  # "onnx", "tflite"
    unavailable_reason: str = ""  # empty when the runtime infers


@dataclass(frozen=True, slots=True)
class SensorSupport:
    """One sensor, or the reason why it cannot be read."""

    kind: str = ""  # "power", "temperature", "battery", "frequency", "throttle"
    name: str = ""
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class Emulation:
    """Present when the device is emulated; shown wherever its figures are shown."""

    profile: str = ""  # "phone", "pi", "jetson"
    how: tuple[str, ...] = ()  # "cpu quota 25 % by cgroup, period 5 ms", ...


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a device reports of itself."""

    device_id: str = ""
    agent_version: str = ""
    boot_id: str = ""
    os: str = ""
    kernel: str = ""
    arch: str = ""
    cpu_model: str = ""
    cores: int = 0  # usable: affinity and quota are respected
    ram_bytes: int | None = None  # usable: cgroup limits are respected
    disk_free_bytes: int | None = None
    device_class: str = ""  # profile name, "generic" when none matches
    soc: str = ""
    accelerator: str = ""
    python_version: str = ""
    runtimes: tuple[RuntimeSupport, ...] = ()
    sensors: tuple[SensorSupport, ...] = ()
    links: tuple[str, ...] = ()  # "grpc", "mqtt"
    isolation: Isolation = Isolation.UNSPECIFIED
    emulation: Emulation | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    clock_ns: int = 0  # device's wall clock, for skew


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Lossy: the oldest sample is dropped first."""

    at_ns: int = 0
    model_id: str = ""  # empty for a whole-device sample
    variant_id: str = ""  # active rung
    requests_per_s: float | None = None
    p50_ns: int | None = None
    p95_ns: int | None = None
    slo_missed_ratio: float | None = None
    cpu_ratio: float | None = None
    available_bytes: int | None = None
    temperature_celsius: float | None = None
    battery_ratio: float | None = None
    queue_length: int | None = None
    slowdown_ratio: float | None = None
