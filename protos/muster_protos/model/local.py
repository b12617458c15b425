"""What crosses the agent's Unix socket. Mirrors v1/local.proto, which documents the fields."""

from __future__ import annotations

from dataclasses import dataclass

from muster_protos.model.link import Event
from muster_protos.model.model import Signature, VariantManifest
from muster_protos.model.state import ServingGrant


@dataclass(frozen=True, slots=True)
class LocalVariant:
    """One verified variant on disk."""

    manifest: VariantManifest = VariantManifest()
    path: str = ""  # verified artifact in the agent's cache
    golden_path: str = ""  # empty = none


@dataclass(frozen=True, slots=True)
class LocalGrant:
    """The agent grants (or replaces) what the process may serve."""

    grant: ServingGrant = ServingGrant()
    model_id: str = ""
    signature: Signature = Signature()
    variants: tuple[LocalVariant, ...] = ()
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LocalCap:
    """The slow loop's verdict: no rung above this index may be active."""

    highest_rung: int = 0  # index in the ladder, 0 = best
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LocalStop:
    """Finish what is queued and end."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class LocalHello:
    """The first message of a serving process."""

    model_id: str = ""  # what the app wants to serve
    pid: int = 0
    is_child: bool = False  # started by the agent


@dataclass(frozen=True, slots=True)
class LocalReady:
    """The grant is loaded, self-tested and active."""

    deployment_id: str = ""
    active_variant_id: str = ""
    resident_variant_ids: tuple[str, ...] = ()
    http_port: int = 0
    grpc_port: int = 0


@dataclass(frozen=True, slots=True)
class LocalFailed:
    """A variant of the grant could not be served; the previous grant stays."""

    deployment_id: str = ""
    variant_id: str = ""
    reason: str = ""  # "self-test: max abs error 0.9 > 0.05", "load: ..."


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """Counters since the start and figures of the last 10 s."""

    active_variant_id: str = ""
    resident_variant_ids: tuple[str, ...] = ()
    answered: int = 0  # since the start of the process
    failed: int = 0
    shed: int = 0
    slo_missed: int = 0
    p50_ns: int | None = None  # last 10 s
    p95_ns: int | None = None
    requests_per_s: float = 0.0
    queue_length: int = 0
    slowdown_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """One frame of the local socket."""

    body: LocalGrant | LocalCap | LocalStop | LocalHello | LocalReady | LocalFailed | LocalStatus | Event | None = None
