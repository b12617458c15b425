"""Apply one pass to one model: from the cache, or made now and kept there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster_compression.artifact import ref_of
from muster_compression.dataset.splits import Array, Split
from muster_compression.part_of import OnProgress
from muster_compression.pass_cache import PassCache, SampleHashes, named, pass_key
from muster_compression.passes.port import PassContext, PassError, PassOutput, WorkingModel
from muster_compression.recipe import Step
from muster_compression.sources.user_code import load_function
from muster_protos.model import Signature

_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all passes of one run share."""

    signature: Signature
    calibration: Mapping[str, Array]
    training: Split | None
    holdout: Split | None
    hashes: SampleHashes
    seed: int
    threads: int
    cache: PassCache


@dataclass(frozen=True, slots=True)
class Applied:
    """What came out, and what it cost when it was made."""

    output: PassOutput
    wall_s: float
    is_cached: bool


def apply_pass(
    around: Surroundings,
    step: Step,
    model: WorkingModel,
    folder: Path,
    branches: Mapping[str, WorkingModel],
    on_progress: OnProgress,
) -> Applied:
    """The pass's output in ``folder``.

    Raises:
        PassError: the pass cannot take the model, or changed nothing.
    """
    spec, settings = step.spec, step.parsed()
    if model.form not in spec.takes:
        takes = " or ".join(sorted(form.value for form in spec.takes))
        raise PassError(f"{spec.name} takes {takes} models, found {model.form.value}")
    context = PassContext(
        folder=folder,
        signature=around.signature,
        calibration=around.calibration,
        seed=around.seed,
        on_progress=on_progress,
        branches=branches,
        training=around.training if spec.sees_samples else None,
        holdout=around.holdout if spec.sees_samples else None,
        threads=around.threads,
    )
    key = pass_key(model, spec, settings, around.hashes, context)
    cached = around.cache.get(key, spec, folder / f"cached.{spec.gives.value}")
    if cached is not None:
        for path, function in settings.user_code:
            load_function(path, function)  # or the classes inside would not be found
        on_progress(1.0, "from the cache")
        return Applied(cached.output, cached.wall_s, is_cached=True)
    began_s = time.monotonic()
    output = _made(around.cache, key, step, model, context)
    wall_s = time.monotonic() - began_s
    around.cache.put(key, output, wall_s)
    return Applied(output, wall_s, is_cached=False)


def threads_of(asked: int) -> int:
    """As asked, else what the process may use: OMP_NUM_THREADS, or its cores, at most eight."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    allowed = int(told) if told.isdecimal() and int(told) else len(os.sched_getaffinity(0))
    return asked or min(allowed, _MOST_THREADS)


def _made(cache: PassCache, key: str, step: Step, model: WorkingModel, context: PassContext) -> PassOutput:
    spec = step.spec
    try:
        output = spec.function(model, step.parsed(), replace(context, checkpoints=cache.checkpoints(key)))
    except PassError:
        cache.forget(key)  # it would only come to the same end again
        raise
    if not spec.is_lossless and ref_of(output.model.path).sha256 == ref_of(model.path).sha256:
        raise PassError(f"{spec.name} changed nothing")
    return named(output, key)
