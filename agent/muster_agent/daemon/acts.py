"""What each step does; called in the step's own thread."""

from __future__ import annotations

import threading

from muster_agent.core.steps import (
    Activate,
    Collect,
    Commit,
    FailBenchmark,
    FailLoad,
    Fetch,
    Forget,
    Resume,
    Rollback,
    RunBenchmark,
    RunLoad,
    SelfTest,
    Step,
    StopServing,
)
from muster_agent.daemon import loads, measure
from muster_agent.daemon.adoption import Adoption
from muster_agent.daemon.fetch import fetch
from muster_agent.daemon.moment import Moment
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.daemon.serve import ServingSteps
from muster_devices.failpoint import hit


class Acts:
    """The ``Act`` of a runner."""

    def __init__(
        self,
        parts: Parts,
        settings: Settings,
        moment: Moment,
        outbox: Outbox,
        adoption: Adoption,
        serving: ServingSteps,
        running_loads: loads.Loads,
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._moment = moment
        self._outbox = outbox
        self._adoption = adoption
        self._serving = serving
        self._loads = running_loads

    def __call__(self, step: Step, stop: threading.Event) -> None:
        """Do it; raises what a runner makes an end of."""
        parts, wanted = self._parts, self._adoption.wanted
        match step:
            case Fetch(ref):
                fetch(ref, parts, self._outbox, stop)
            case SelfTest():
                self._serving.self_test(step, wanted)
            case Activate():
                self._serving.activate(step, wanted)
            case Resume():
                self._serving.resume(step)
            case Commit():
                self._serving.commit(step, wanted)
            case Rollback():
                self._serving.roll_back(step, wanted)
            case StopServing():
                self._serving.stop(step)
            case RunBenchmark(request):
                measure.run_benchmark(request, wanted, parts, self._settings, self._outbox, stop)
            case FailBenchmark(request, reason):
                measure.fail_benchmark(request, reason, wanted, parts, self._settings)
            case RunLoad(request):
                self._loads.start(request, wanted, self._moment.live(request.model_id))
            case FailLoad(request, reason):
                self._loads.fail(request, reason)
            case Forget(benchmarks, load_keys):
                parts.state.drop_runs(measure.KIND, benchmarks)
                parts.state.drop_runs(loads.KIND, load_keys)
            case Collect(sha256s):
                parts.cache.remove(sha256s)
                hit("collect: removed")
                parts.state.clear_bad(sha256s)
