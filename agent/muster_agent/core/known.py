"""What the agent knows of itself: the durable records, and the facts of this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from muster_agent.core.wanted import WantedModel
from muster_protos.model import BenchmarkPhase, Configuration, DeploymentState, ServingGrant


@dataclass(frozen=True, slots=True)
class Run:
    """How far one requested benchmark run or load is; ``starts`` counts the tries that a restart cut off."""

    request_id: str
    attempt: int
    phase: BenchmarkPhase
    starts: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A deployment that this device is done with, and why; it is not tried again."""

    grant: ServingGrant
    state: DeploymentState
    reason: str


@dataclass(frozen=True, slots=True)
class ServingRecord:
    """The durable pointer of one served model.

    ``trial`` is written before it is loaded. What should be up is the trial, or without one the last good. A trial that
    is committed before it has been up for long enough is not trusted yet: the good one before it is kept.
    """

    model_id: str
    trial: WantedModel | None = None
    is_trial_active: bool = False  # it was ready once
    trial_starts: int = 0  # loads that have not proved healthy yet, of the trial or of a last good not trusted yet
    last_good: WantedModel | None = None
    conclusions: tuple[Conclusion, ...] = ()  # oldest first, bounded
    tested: tuple[str, ...] = ()  # test_key of the self-tests that passed
    http_port: int = 0
    grpc_port: int = 0
    before_good: WantedModel | None = None  # to go back to while the last good one has not proved healthy
    testing: str = ""  # test_key of the self-test that was begun last and has not passed
    test_starts: int = 0  # how often it was begun

    @property
    def models(self) -> tuple[WantedModel, ...]:
        """Everything on record: what must stay on the device, and be genuine."""
        return tuple(model for model in (self.trial, self.last_good, self.before_good) if model is not None)

    @property
    def target(self) -> WantedModel | None:
        """What should be up now; None when nothing should."""
        return self.trial or self.last_good


@dataclass(frozen=True, slots=True)
class Known:
    """Everything durable on the device."""

    cached: frozenset[str] = frozenset()  # sha256 of complete, verified artifacts
    partial_bytes: Mapping[str, int] = field(default_factory=dict)  # by sha256
    bad: Mapping[str, str] = field(default_factory=dict)  # bad_key -> reason
    serving: Mapping[str, ServingRecord] = field(default_factory=dict)  # by model id
    benchmarks: tuple[Run, ...] = ()
    loads: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Live:
    """A model that is up right now."""

    grant: ServingGrant
    variant_ids: tuple[str, ...]  # the granted ones; fewer than the ladder when bytes were missing
    active_variant_id: str = ""
    resident_variant_ids: tuple[str, ...] = ()
    http_port: int = 0
    grpc_port: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The moment: what is up, what must wait, and what went wrong lately."""

    now_ns: int = 0  # wall clock
    is_online: bool = False
    live: Mapping[str, Live] = field(default_factory=dict)  # by model id
    held: frozenset[str] = frozenset()  # keys of steps that wait for their back-off
    problems: Mapping[str, str] = field(default_factory=dict)  # step key -> why it failed last
    is_writable: bool = True  # False: the state cannot be stored just now


def configuration_text(configuration: Configuration) -> str:
    """``<variant>@<runtime>/<provider>/t<threads>``."""
    return f"{configuration.variant_id}@{configuration.runtime}/{configuration.provider}/t{configuration.threads}"


def test_key(deployment_id: str, configuration: Configuration) -> str:
    """Names one self-test of one deployment."""
    return f"{deployment_id} {configuration_text(configuration)}"


def start_key(sha256: str, configuration: Configuration) -> str:
    """Names an artifact that did not start; unlike ``bad_key`` it does not bar a later deployment from trying."""
    return f"{bad_key(sha256, configuration)} at start"


def bad_key(sha256: str, configuration: Configuration) -> str:
    """Names an artifact under a runtime and provider; the same bytes may be good under another."""
    return f"{sha256} {configuration.runtime}/{configuration.provider}"
