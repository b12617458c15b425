"""Steps are data: what the runner can do to the device, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from muster_protos.model import ArtifactRef, BenchmarkRequest, Configuration, DeploymentState, LoadRequest


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring an artifact into the cache, from where a partial file ends."""

    ref: ArtifactRef


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Run a configuration's golden inputs in a child before anything may activate it."""

    model_id: str
    deployment_id: str
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Activate:
    """Persist a granted deployment as the trial, then load it."""

    model_id: str
    deployment_id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Load what is already on record (trial or last good), with those of its variants whose bytes are here."""

    model_id: str
    deployment_id: str
    variant_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The controller has seen the trial healthy: make it the last good."""

    model_id: str
    deployment_id: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Conclude a deployment with a reason; the last good is up again afterwards."""

    model_id: str
    deployment_id: str
    state: DeploymentState
    reason: str
    is_start_failure: bool = False  # its artifacts are marked bad until another deployment names them


@dataclass(frozen=True, slots=True)
class StopServing:
    """Nothing of this model is granted any more."""

    model_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunBenchmark:
    """Measure one configuration in a child."""

    request: BenchmarkRequest


@dataclass(frozen=True, slots=True)
class FailBenchmark:
    """Conclude a benchmark request that cannot be run."""

    request: BenchmarkRequest
    reason: str


@dataclass(frozen=True, slots=True)
class RunLoad:
    """Start a load; it runs beside later steps."""

    request: LoadRequest


@dataclass(frozen=True, slots=True)
class FailLoad:
    """Conclude a load that cannot be run."""

    request: LoadRequest
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop records of requests that are no longer desired."""

    benchmarks: tuple[tuple[str, int], ...]  # (request id, attempt)
    loads: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Remove artifacts that nothing refers to."""

    sha256s: tuple[str, ...]


Step = (
    Fetch
    | SelfTest
    | Activate
    | Resume
    | Commit
    | Rollback
    | StopServing
    | RunBenchmark
    | FailBenchmark
    | RunLoad
    | FailLoad
    | Forget
    | Collect
)

SERVING_STEPS = (SelfTest, Activate, Resume, Commit, Rollback, StopServing)


def step_key(step: Step) -> str:
    """What a back-off is kept under: the same subject, whatever else changed."""
    match step:
        case Fetch(ref):
            return f"fetch {ref.sha256}"
        case SelfTest(model_id, deployment_id, configuration):
            return f"self-test {model_id} {deployment_id} {configuration}"
        case Activate(model_id, deployment_id) | Resume(model_id, deployment_id):
            return f"serve {model_id} {deployment_id}"
        case Commit(model_id, deployment_id) | Rollback(model_id, deployment_id):
            return f"conclude {model_id} {deployment_id}"
        case StopServing(model_id):
            return f"stop {model_id}"
        case RunBenchmark(request) | FailBenchmark(request):
            return f"benchmark {request.request_id} {request.attempt}"
        case RunLoad(load) | FailLoad(load):
            return f"load {load.request_id} {load.attempt}"
        case Forget():
            return "forget"
        case Collect():
            return "collect"


def may_yield(running: Step, plan: tuple[Step, ...]) -> bool:
    """Whether a running step should be stopped: nobody wants it any more, or serving cannot wait for it."""
    if not isinstance(running, (Fetch, RunBenchmark)):
        return False
    return running not in plan or isinstance(plan[0], SERVING_STEPS)
