"""Whether a policy makes sense for a model."""

from __future__ import annotations

from muster_controller.core.bounds import BoundKind
from muster_controller.core.entities import Model
from muster_controller.core.policy_terms import (
    QUALITY_METRICS,
    Metric,
    Objective,
    Policy,
    PolicyError,
    Side,
)
from muster_protos.metric_names import is_error_metric

_ACCURACY = frozenset({Metric.ACCURACY, Metric.ACCURACY_DROP})


def check_policy(policy: Policy, model: Model) -> None:
    """Return when ``policy`` makes sense for ``model``.

    Raises:
        PolicyError: it asks for accuracy of a model without labels and does not allow agreement instead, or it bounds
            an error metric from the wrong side.
    """
    name = f"{model.model_id}:{model.version}"
    asked = [f"constraint {item}" for item in policy.constraints if item.metric in _ACCURACY]
    if Objective.ACCURACY in policy.objectives:
        asked.append("objective accuracy")
    if asked and not model.is_labelled and not policy.is_agreement_allowed:
        raise PolicyError(
            f"model {name} has no labelled data, so its accuracy is unknown, but the policy has {asked[0]}: add data "
            "with labels to the model, or set allow_agreement: true to judge by agreement with the uncompressed model"
        )
    needs_evaluation = asked or any(item.metric in QUALITY_METRICS for item in policy.constraints)
    if needs_evaluation and model.evaluation is None:
        raise PolicyError(
            f"model {name} has no evaluation data, so neither accuracy nor agreement is known: add it with --data"
        )
    if model.is_labelled and is_error_metric(model.signature.metric):
        for item in policy.constraints:
            if item.metric is Metric.ACCURACY and item.side is Side.MIN and item.bound.kind is not BoundKind.POINTS:
                raise PolicyError(
                    f"model {name} is judged by {model.signature.metric}, where smaller is better: expected "
                    f"accuracy: {{max: {item.bound}}}, found min"
                )
