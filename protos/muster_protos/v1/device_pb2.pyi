from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Isolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ISOLATION_UNSPECIFIED: _ClassVar[Isolation]
    ISOLATION_NONE: _ClassVar[Isolation]
    ISOLATION_RLIMIT: _ClassVar[Isolation]
    ISOLATION_CGROUP: _ClassVar[Isolation]
    ISOLATION_SECCOMP: _ClassVar[Isolation]
ISOLATION_UNSPECIFIED: Isolation
ISOLATION_NONE: Isolation
ISOLATION_RLIMIT: Isolation
ISOLATION_CGROUP: Isolation
ISOLATION_SECCOMP: Isolation

class RuntimeSupport(_message.Message):
    __slots__ = ("name", "version", "providers", "formats", "unavailable_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    providers: _containers.RepeatedScalarFieldContainer[str]
    formats: _containers.RepeatedScalarFieldContainer[str]
    unavailable_reason: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., providers: _Optional[_Iterable[str]] = ..., formats: _Optional[_Iterable[str]] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class SensorSupport(_message.Message):
    __slots__ = ("kind", "name", "unavailable_reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    unavailable_reason: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Emulation(_message.Message):
    __slots__ = ("profile", "how")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    profile: str
    how: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, profile: _Optional[str] = ..., how: _Optional[_Iterable[str]] = ...) -> None: ...

class Inventory(_message.Message):
    __slots__ = ("device_id", "agent_version", "boot_id", "os", "kernel", "arch", "cpu_model", "cores", "ram_bytes", "disk_free_bytes", "device_class", "soc", "accelerator", "python_version", "runtimes", "sensors", "links", "isolation", "emulation", "labels", "clock_ns")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ARCH_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    SOC_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    EMULATION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    agent_version: str
    boot_id: str
    os: str
    kernel: str
    arch: str
    cpu_model: str
    cores: int
    ram_bytes: int
    disk_free_bytes: int
    device_class: str
    soc: str
    accelerator: str
    python_version: str
    runtimes: _containers.RepeatedCompositeFieldContainer[RuntimeSupport]
    sensors: _containers.RepeatedCompositeFieldContainer[SensorSupport]
    links: _containers.RepeatedScalarFieldContainer[str]
    isolation: Isolation
    emulation: Emulation
    labels: _containers.ScalarMap[str, str]
    clock_ns: int
    def __init__(self, device_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., boot_id: _Optional[str] = ..., os: _Optional[str] = ..., kernel: _Optional[str] = ..., arch: _Optional[str] = ..., cpu_model: _Optional[str] = ..., cores: _Optional[int] = ..., ram_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., device_class: _Optional[str] = ..., soc: _Optional[str] = ..., accelerator: _Optional[str] = ..., python_version: _Optional[str] = ..., runtimes: _Optional[_Iterable[_Union[RuntimeSupport, _Mapping]]] = ..., sensors: _Optional[_Iterable[_Union[SensorSupport, _Mapping]]] = ..., links: _Optional[_Iterable[str]] = ..., isolation: _Optional[_Union[Isolation, str]] = ..., emulation: _Optional[_Union[Emulation, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., clock_ns: _Optional[int] = ...) -> None: ...

class Telemetry(_message.Message):
    __slots__ = ("at_ns", "model_id", "variant_id", "requests_per_s", "p50_ns", "p95_ns", "slo_missed_ratio", "cpu_ratio", "available_bytes", "temperature_celsius", "battery_ratio", "queue_length", "slowdown_ratio")
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VARIANT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_S_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    SLO_MISSED_RATIO_FIELD_NUMBER: _ClassVar[int]
    CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    BATTERY_RATIO_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SLOWDOWN_RATIO_FIELD_NUMBER: _ClassVar[int]
    at_ns: int
    model_id: str
    variant_id: str
    requests_per_s: float
    p50_ns: int
    p95_ns: int
    slo_missed_ratio: float
    cpu_ratio: float
    available_bytes: int
    temperature_celsius: float
    battery_ratio: float
    queue_length: int
    slowdown_ratio: float
    def __init__(self, at_ns: _Optional[int] = ..., model_id: _Optional[str] = ..., variant_id: _Optional[str] = ..., requests_per_s: _Optional[float] = ..., p50_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., slo_missed_ratio: _Optional[float] = ..., cpu_ratio: _Optional[float] = ..., available_bytes: _Optional[int] = ..., temperature_celsius: _Optional[float] = ..., battery_ratio: _Optional[float] = ..., queue_length: _Optional[int] = ..., slowdown_ratio: _Optional[float] = ...) -> None: ...
