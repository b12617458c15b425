"""A metric of the user's own: ``metrics.py:f1(predictions, labels) -> float``. Runs their code, so only in a child."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from muster_bench.evaluate import Answers
from muster_compression.dataset.splits import Array
from muster_compression.sources.kind import split_torch
from muster_compression.sources.user_code import load_function, users_code
from muster_protos.errors import InvalidInputError, MusterError
from muster_protos.ids import check_id
from muster_protos.metric_names import is_user_metric, user_metric
from muster_protos.model import Accuracy, Signature

_RESAMPLES = 200
_LONGEST_S = 5.0


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """The function and its direction (its attribute ``higher_is_better``, true when it has none)."""

    source: str  # file:function, for messages
    function: Callable[[Any, Array], Any]
    name: str  # as Signature.metric has it

    def value(self, predictions: Any, labels: Array) -> float:
        """One finite number.

        Raises:
            InvalidInputError: the function fails or returns something else.
        """
        with users_code(self.source):
            found = self.function(predictions, labels)
        try:
            number = float(found)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{self.source}: expected a number, found {type(found).__name__}") from error
        if not math.isfinite(number):
            raise InvalidInputError(f"{self.source}: expected a finite number, found {number}")
        return number


def load_own_metric(text: str) -> OwnMetric | None:
    """``file.py:function``; "" is none.

    Raises:
        NotFoundError: there is no such file or function.
        InvalidInputError: it is not of that form, or its name is too long for an id.
    """
    if not text:
        return None
    named = split_torch(text)
    if named is None:
        raise InvalidInputError(f"expected a metric of your own as file.py:function, found {text!r}")
    path, function = named
    loaded = load_function(path, function)
    check_id(function, "name of the metric")
    name = user_metric(function, bool(getattr(loaded, "higher_is_better", True)))
    return OwnMetric(f"{path.name}:{function}", loaded, name)


def check_metric_is_there(signature: Signature, own: OwnMetric | None) -> None:
    """A model that is judged by a user's function needs that function.

    Raises:
        InvalidInputError: it is missing, or is another one.
    """
    if is_user_metric(signature.metric) and (own is None or own.name != signature.metric):
        function = signature.metric.split(":")[1]
        raise InvalidInputError(
            f"the model is judged by {signature.metric!r}; expected that function too, as in "
            f"--metric metrics.py:{function}"
        )


def measured(own: OwnMetric | None, accuracy: Accuracy, answers: Answers, signature: Signature) -> Accuracy:
    """``accuracy`` with the value of the user's metric, and an interval from 200 seeded resamples where it has one.

    The function gets the first output as (samples, ...), a dict by name where there are several; labels as (samples,).
    Percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if own is None or answers.labels is None:
        return accuracy
    labels = answers.labels
    predictions = {spec.name: _shaped(answers.outputs[spec.name], spec.shape) for spec in signature.outputs}
    value = own.value(_given(predictions), labels)
    low, high = _interval(own, predictions, labels, value)
    return replace(accuracy, metric=own.name, value=value, ci_low=low, ci_high=high, unavailable_reason="")


def _interval(
    own: OwnMetric, predictions: dict[str, Array], labels: Array, value: float
) -> tuple[float | None, float | None]:
    """None where a resample has no value (one class only, say) or the function is slow."""
    import time

    random = np.random.default_rng(0)
    found = []
    started = time.monotonic()
    for _ in range(_RESAMPLES):
        chosen = random.integers(0, len(labels), len(labels))
        try:
            found.append(own.value(_given({key: rows[chosen] for key, rows in predictions.items()}), labels[chosen]))
        except MusterError:
            return None, None
        if time.monotonic() - started > _LONGEST_S:
            return None, None
    low, high = (float(bound) for bound in np.quantile(found, (0.025, 0.975)))
    return min(low, value), max(high, value)


def _given(predictions: dict[str, Array]) -> Any:
    return next(iter(predictions.values())) if len(predictions) == 1 else predictions


def _shaped(rows: Array, shape: tuple[int, ...]) -> Array:
    """(n, values) as (n, ...) where the signature says how."""
    inner = shape[1:]
    return rows.reshape(len(rows), *inner) if inner and all(size > 0 for size in inner) else rows
