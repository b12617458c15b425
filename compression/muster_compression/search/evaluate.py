"""Make and judge one point: a recipe of its own in a child process, through the pass cache, then its latency here."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster_compression.latency import host_latency
from muster_compression.nothing_made import NothingMadeError
from muster_compression.orders import FailedVariant, HostLatency, Parent, RecipeResult, StepResult, VariantResult
from muster_compression.part_of import OnProgress
from muster_compression.rows import finite
from muster_compression.run_recipe import run_recipe
from muster_compression.search.point import Point, Value
from muster_compression.search.space import Space
from muster_compression.workspace import search_folder
from muster_protos.errors import InvalidInputError, MissingExtraError, MusterError, NotFoundError, PermanentError

_MEASURING = 0.8  # of a point's progress


@dataclass(frozen=True, slots=True)
class Asked:
    """What stays the same over all points."""

    out_dir: Path
    floor: str = ""
    seed: int | None = None  # None = the recipe's own
    own_metric: str = ""
    threads: int = 0
    measure_latency: bool = True
    cache_dir: Path | None = None


@dataclass(slots=True)
class Evaluator:
    """Runs points; the same bytes are measured once."""

    space: Space
    parent: Parent  # with the samples that rank
    asked: Asked
    stop: threading.Event | None = None
    latencies: dict[str, tuple[HostLatency | None, str]] = field(default_factory=dict)  # by sha256

    def evaluate(self, number: int, target: int, values: Mapping[str, Value], on_progress: OnProgress) -> Point:
        """The point with its figures, or with the reason why it could not be made.

        Raises:
            MusterError: what says nothing of the point: data or a floor that no recipe can be run with, a missing
                extra, a file that is not there any more, a dead child, a full disk or memory. It is tried again when
                the search goes on.
        """
        started = time.monotonic()
        point = Point(number, self.space.variant_name(target), dict(values))
        with search_folder(self.asked.out_dir) as folder:
            try:
                found = self._made(folder, target, values, on_progress)
            except (NothingMadeError, PointFailedError) as error:
                reason = str(error).removeprefix(f"{point.variant}: ")
                steps = _steps_of(error, point.variant)
                return replace(point, failed=reason, wall_s=time.monotonic() - started, steps=steps)
            point = _judged(point, found)
            if not point.under_floor and self.asked.measure_latency:
                on_progress(_MEASURING, "measuring on this host")
                latency, unavailable = self.latency(found.artifact_path, found)
                point = replace(
                    point,
                    latency_ms=None if latency is None else latency.p50_ns / 1e6,
                    latency_state="" if latency is None else latency.state,
                    latency_unavailable=unavailable,
                )
        return replace(point, wall_s=time.monotonic() - started)

    def latency(self, path: Path, found: VariantResult) -> tuple[HostLatency | None, str]:
        """Measured once for the same bytes."""
        sha256 = found.manifest.artifact.sha256
        if sha256 not in self.latencies:
            evaluation = self.parent.evaluation_path
            assert evaluation is not None
            self.latencies[sha256] = host_latency(path, found.manifest, evaluation)
        return self.latencies[sha256]

    def _made(self, folder: Path, target: int, values: Mapping[str, Value], on_progress: OnProgress) -> VariantResult:
        self._check_values(target, values)
        recipe = folder / "point.yaml"
        recipe.write_text(self.space.point_yaml(target, values), encoding="utf-8")
        try:
            result = self._run(recipe, folder / "made", on_progress)
        except NothingMadeError as error:
            _check_complete(error.result)
            raise
        _check_complete(result)
        name = self.space.variant_name(target)
        for item in result.variants:
            if item.manifest.name == name:
                return item
        raise PointFailedError(
            next((item for item in result.failed if item.name == name), FailedVariant(name, "it was not made"))
        )

    def _check_values(self, target: int, values: Mapping[str, Value]) -> None:
        """What does not go together is the values' fault; any other error before the passes is not.

        Raises:
            PointFailedError: with these values the recipe is none.
        """
        try:
            self.space.recipe(values)
        except InvalidInputError as error:
            raise PointFailedError(FailedVariant(self.space.variant_name(target), str(error))) from error

    def _run(self, recipe: Path, out_dir: Path, on_progress: OnProgress) -> RecipeResult:
        return run_recipe(
            self.parent,
            str(recipe),
            out_dir,
            lambda ratio, note: on_progress(_MEASURING * ratio, note),
            stop=self.stop,
            floor=self.asked.floor,
            seed=self.asked.seed,
            own_metric=self.asked.own_metric,
            threads=self.asked.threads,
            cache_dir=self.asked.cache_dir,
        )


class PointFailedError(PermanentError):
    """The variant could not be made with these values."""

    def __init__(self, failed: FailedVariant) -> None:
        super().__init__(failed.reason)
        self.failed = failed


def _check_complete(result: RecipeResult) -> None:
    """Nothing is missing that the point, or what it starts from, needs whatever its values.

    Raises:
        MissingExtraError: an optional part is not installed.
        NotFoundError: a file that passes name is not there any more.
    """
    for item in result.failed:
        if item.is_extra_missing:
            raise MissingExtraError(item.reason)
        if item.is_file_missing:
            raise NotFoundError(item.reason)


def _steps_of(error: MusterError, variant: str) -> tuple[StepResult, ...]:
    """As far as the variant came."""
    if isinstance(error, PointFailedError):
        steps = error.failed.steps
    elif isinstance(error, NothingMadeError):
        steps = next((item.steps for item in error.result.failed if item.name == variant), ())
    else:
        steps = ()
    return tuple(map(finite, steps))


def _judged(point: Point, found: VariantResult) -> Point:
    accuracy = found.manifest.accuracy
    assert accuracy is not None
    return replace(
        point,
        format=found.manifest.format.value,
        sha256=found.manifest.artifact.sha256,
        size_bytes=found.manifest.artifact.size_bytes,
        metric=accuracy.metric if accuracy.value is not None else "",
        accuracy=accuracy.value,
        accuracy_ci=(accuracy.ci_low, accuracy.ci_high),
        agreement=accuracy.agreement,
        under_floor="" if found.is_kept else found.reason,
        steps=tuple(map(finite, found.steps)),
    )
