"""A policy from its YAML text, read strictly; the grammar is documented in docs/policy.md.

An unknown key suggests the nearest, a wrong type says what was expected and what was found.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from muster_controller.core.bounds import BoundKind, parse_bound
from muster_controller.core.policy_check import check_policy
from muster_controller.core.policy_terms import (
    QUALITY_METRICS,
    Constraint,
    Metric,
    Objective,
    Policy,
    PolicyError,
    Side,
    SloTarget,
)
from muster_protos.errors import InvalidInputError
from muster_protos.faults import yaml_fault

__all__ = ["Policy", "PolicyError", "check_policy", "parse_policy"]

DEFAULT_RUNGS = 4
_MOST_RUNGS = 5
_LONGEST_TEXT = 65_536

_KEYS = ("constraints", "objective", "apply", "allow_agreement", "slo", "ladder")


def parse_policy(text: str) -> Policy:
    """Read a policy.

    Raises:
        PolicyError: it is no YAML, a key is unknown, or a value has the wrong type; the message names the key.
    """
    top = _mapping(_load(text), "the policy")
    _check_keys(top, _KEYS, "the policy")
    ladder = _mapping(top.get("ladder", {}), "ladder")
    _check_keys(ladder, ("rungs", "emergency"), "ladder")
    return Policy(
        constraints=_constraints(top.get("constraints", {})),
        weights=_weights(top.get("objective", Objective.ACCURACY.value)),
        is_auto=_choice(top.get("apply", "manual"), ("manual", "auto"), "apply") == "auto",
        is_agreement_allowed=_flag(top.get("allow_agreement", False), "allow_agreement"),
        slo=_slo(top["slo"]) if "slo" in top else None,
        rungs=_rungs(ladder.get("rungs", DEFAULT_RUNGS)),
        keeps_emergency_rung=_flag(ladder.get("emergency", True), "ladder: emergency"),
        text=text,
    )


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key.__hash__ is None or key in seen:
                raise PolicyError(
                    f"expected each key once, found {str(key)[:80]!r} again in line {node.start_mark.line + 1}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _load(text: str) -> object:
    if len(text) > _LONGEST_TEXT:
        raise PolicyError(f"expected a policy of at most {_LONGEST_TEXT} characters, found {len(text)}")
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise PolicyError(f"expected a policy in YAML, found {yaml_fault(error)}") from error
    except (RecursionError, ValueError) as error:
        raise PolicyError(f"expected a policy in YAML, found text that cannot be read: {error}") from error


def _constraints(value: object) -> tuple[Constraint, ...]:
    written = _mapping(value, "constraints")
    _check_keys(written, [metric.value for metric in Metric], "constraints")
    found: list[Constraint] = []
    for name, sides in written.items():
        if not isinstance(sides, Mapping):
            raise PolicyError(f"expected {name}: {{max: 40}} or {{min: ...}}, found {name}: {_shown(sides)}")
        _check_keys(sides, [side.value for side in Side], name)
        if not sides:
            raise PolicyError(f"expected {name} to have a min or a max, found neither")
        found += [_constraint(Metric(name), Side(side), bound) for side, bound in sides.items()]
    return tuple(sorted(found, key=lambda item: (list(Metric).index(item.metric), item.side.value)))


def _constraint(metric: Metric, side: Side, value: object) -> Constraint:
    where = f"constraints: {metric.value}: {side.value}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PolicyError(f"{where}: expected a bound such as 0.88, -0.01 or 0.99rel, found {_shown(value)}")
    try:
        bound = parse_bound(value)
    except InvalidInputError as error:
        raise PolicyError(f"{where}: {error}") from error
    if metric is Metric.ACCURACY_DROP and (side is Side.MIN or bound.kind is not BoundKind.ABSOLUTE):
        raise PolicyError(f"{where}: expected max with points of drop such as 0.01, found {side.value} {bound}")
    if bound.kind is BoundKind.POINTS and metric not in QUALITY_METRICS:
        raise PolicyError(f"{where}: expected a bound that is not negative, found {bound}")
    return Constraint(metric, side, bound)


def _weights(value: object) -> tuple[tuple[Objective, float], ...]:
    names = [objective.value for objective in Objective]
    if isinstance(value, str):
        return ((Objective(_choice(value, names, "objective")), 1.0),)
    written = _mapping(value, "objective")
    _check_keys(written, names, "objective")
    weights = {Objective(name): _number(weight, f"objective: {name}") for name, weight in written.items()}
    total = sum(weights.values())
    if not weights or total <= 0 or min(weights.values()) < 0:
        raise PolicyError(f"objective: expected weights such as {{accuracy: 0.7, latency: 0.3}}, found {_shown(value)}")
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0].value))
    return tuple((objective, weight / total) for objective, weight in ordered if weight > 0)


def _slo(value: object) -> SloTarget:
    written = _mapping(value, "slo")
    _check_keys(written, ("latency_ms", "percentile"), "slo")
    if "latency_ms" not in written:
        raise PolicyError("slo: expected latency_ms, found none")
    latency_ms = _number(written["latency_ms"], "slo: latency_ms")
    percentile = _number(written.get("percentile", 95), "slo: percentile")
    if not 0 < latency_ms <= 3_600_000:
        raise PolicyError(f"slo: latency_ms: expected more than 0 and at most an hour, found {latency_ms:g}")
    if not 0 < percentile < 100:
        raise PolicyError(f"slo: percentile: expected a number between 0 and 100, found {percentile:g}")
    return SloTarget(latency_ms, percentile)


def _rungs(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_RUNGS:
        raise PolicyError(f"ladder: rungs: expected a whole number from 1 to {_MOST_RUNGS}, found {_shown(value)}")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PolicyError(f"{where}: expected a number, found {_shown(value)}")
    return float(value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"{where}: expected true or false, found {_shown(value)}")
    return value


def _choice(value: object, choices: Collection[str], where: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise PolicyError(f"{where}: expected {' or '.join(choices)}, found {_shown(value)}{_nearest(value, choices)}")
    return value


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if value is None and where != "the policy":
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise PolicyError(f"{where}: expected a mapping of names, found {_shown(value)}")
    return value


def _check_keys(written: Mapping[str, object], known: Collection[str], where: str) -> None:
    for key in written:
        if key not in known:
            hint = _nearest(key, known) or f": expected one of {', '.join(known)}"
            raise PolicyError(f"{where}: unknown key {str(key)[:80]!r}{hint}")


def _nearest(value: object, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(value)[:80], list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]
