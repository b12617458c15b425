"""Who says which values to try next: all in turn where the space is small, else a tree-structured Parzen estimator.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; for several objectives Ozaki et al.,
GECCO 2020. By optuna, which keeps nothing and sends nothing here: its study lives for one proposal and is fed from our
own log, so that a search that was interrupted goes on exactly as it would have.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from muster_compression.frontier import quality_of
from muster_compression.search.domain import Domain, Parameter
from muster_compression.search.point import Point, Value
from muster_protos.errors import MissingExtraError

ENUMERATED_MOST = 16
_TRIES = 25
_STARTUP_POINTS = 6
_CONSTRAINTS = "constraints"  # where optuna keeps them of a finished trial: above 0 is broken


class Proposer(Protocol):
    """Proposes values for the parameters of one variant."""

    @property
    def method(self) -> str:
        """How, for people."""
        ...

    def propose(self, history: Sequence[Point]) -> Mapping[str, Value] | None:
        """Values that ``history`` (this variant's points) does not have; None when there are none left."""
        ...


def proposer_for(parameters: Sequence[Parameter], points: int | None, seed: int, slowest_ms: float) -> Proposer:
    """All combinations in a seeded order when they fit in ``points`` (at least 16), else the estimator.

    ``slowest_ms`` is the baseline's latency.
    """
    count = math.prod(item.domain.count or ENUMERATED_MOST * 1000 for item in parameters)
    if count <= max(ENUMERATED_MOST, points or 0):
        return Enumeration(tuple(parameters), seed)
    return Estimator(tuple(parameters), seed, slowest_ms)


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Every combination once."""

    parameters: tuple[Parameter, ...]
    seed: int
    method: str = "every combination"

    def propose(self, history: Sequence[Point]) -> Mapping[str, Value] | None:
        """The next one in the seeded order."""
        names = [item.name for item in self.parameters]
        combinations = list(itertools.product(*(item.domain.values() for item in self.parameters)))
        seen = [dict(point.values) for point in history]
        for index in np.random.default_rng(self.seed).permutation(len(combinations)):
            values = dict(zip(names, combinations[index], strict=True))
            if values not in seen:
                return values
        return None


@dataclass(frozen=True, slots=True)
class Estimator:
    """optuna's TPE over quality, latency and size; its first six points are drawn at random."""

    parameters: tuple[Parameter, ...]
    seed: int
    slowest_ms: float  # the baseline's
    method: str = "tree-structured Parzen estimator"

    def propose(self, history: Sequence[Point]) -> Mapping[str, Value] | None:
        """A new point; a proposal that was tried already is drawn again, at last at random."""
        seen = [dict(point.values) for point in history]
        if self._is_exhausted(len(seen)):
            return None
        for attempt in range(_TRIES):
            values = self._asked(history, self.seed + 1000 * len(history) + attempt)
            if values not in seen:
                return values
        random = np.random.default_rng((self.seed, len(history)))
        while True:
            values = {item.name: _drawn(item.domain, random) for item in self.parameters}
            if values not in seen:
                return values

    def _is_exhausted(self, tried: int) -> bool:
        counts = [item.domain.count for item in self.parameters]
        return all(count is not None for count in counts) and tried >= math.prod(count or 1 for count in counts)

    def _asked(self, history: Sequence[Point], seed: int) -> dict[str, Value]:
        optuna = _library()
        distributions = {item.name: _distribution(optuna, item.domain) for item in self.parameters}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                seed=seed % 2**32,
                n_startup_trials=_STARTUP_POINTS,
                multivariate=True,
            )
            study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
            for point in history:
                if not point.failed:
                    study.add_trial(
                        optuna.trial.create_trial(
                            params=dict(point.values),
                            distributions=distributions,
                            values=self._objectives(point),
                            system_attrs={_CONSTRAINTS: [1.0 if point.under_floor else -1.0]},
                        )
                    )
            return dict(study.ask(distributions).params)

    def _objectives(self, point: Point) -> list[float]:
        """Less is better; what was not measured (a point under the floor) is as slow as the baseline."""
        quality = quality_of(point.metric, point.accuracy, point.agreement)
        latency = self.slowest_ms if point.latency_ms is None else point.latency_ms
        return [0.0 if quality is None else -quality, latency, float(point.size_bytes)]


def _library() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("searching a large space needs optuna: pip install 'muster-edge[compress]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, domain: Domain) -> Any:
    if domain.choices:
        return optuna.distributions.CategoricalDistribution(domain.choices)
    if domain.is_whole:
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.is_log)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, log=domain.is_log)


def _drawn(domain: Domain, random: np.random.Generator) -> Value:
    if domain.choices:
        return domain.choices[int(random.integers(len(domain.choices)))]
    if domain.is_log:
        value = math.exp(random.uniform(math.log(domain.low), math.log(domain.high)))
    else:
        value = float(random.uniform(domain.low, domain.high))
    return round(value) if domain.is_whole else value
