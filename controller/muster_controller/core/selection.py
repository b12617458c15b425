"""Which configuration a device should run, its ladder, and what ruled every other one out. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from muster_controller.core.entities import Decision, Device, Model, Variant
from muster_controller.core.figures import Figure
from muster_controller.core.judge import absolute_bound
from muster_controller.core.ladder import choose_rungs
from muster_controller.core.measured import key_of
from muster_controller.core.option import Option, options_of, unmeasured
from muster_controller.core.pareto import frontier
from muster_controller.core.policy_terms import LATENCY_PERCENTILES, Metric, Policy
from muster_controller.core.ranking import Ranking, best_first, ranking_of
from muster_controller.core.verdict import nearest_miss, verdict_of
from muster_protos.model import BenchmarkRecord, Slo

_NS_PER_MS = 1e6


def select(
    policy: Policy,
    model: Model,
    variants: Sequence[Variant],
    records: Iterable[BenchmarkRecord],
    device: Device,
    *,
    decision_id: str,
    created_at_ns: int,
) -> Decision:
    """Choose for one device from what was measured on it.

    Nothing feasible is no error here: ``chosen`` is None and ``nearest_miss`` says what came closest. The order of
    ``variants`` and ``records`` does not matter. Call ``check_policy`` first.
    """
    options, baseline = options_of(policy, model, variants, records, device)
    ranking = ranking_of(options, policy)
    feasible = best_first([option for option in options if option.is_feasible], ranking, policy)
    ladder = _ladder(options, feasible, ranking, policy)
    judged = [option.candidate(verdict_of(option, ladder, feasible, ranking)) for option in options]
    candidates = (*judged, *unmeasured(variants, options))
    return Decision(
        decision_id=decision_id,
        device_id=device.device_id,
        model_id=model.model_id,
        model_version=model.version,
        policy_yaml=policy.text,
        created_at_ns=created_at_ns,
        chosen=ladder[0].configuration if ladder else None,
        ladder=tuple(option.configuration for option in ladder),
        candidates=tuple(sorted(candidates, key=lambda candidate: key_of(candidate.configuration))),
        nearest_miss="" if ladder else nearest_miss(options),
        slo=_slo(policy, baseline, model),
        is_emulated=device.inventory.emulation is not None,
    )


def _ladder(
    options: Sequence[Option], feasible: Sequence[Option], ranking: Ranking, policy: Policy
) -> tuple[Option, ...]:
    """Best to cheapest: the choice, faster and less good ones from the frontier, the emergency rung.

    Latency and quality both fall strictly from rung to rung, and a variant stands on one rung only.
    """
    if not feasible:
        return ()
    below = _frontier_below(feasible[0], feasible, ranking)
    emergency = _emergency_rung((feasible[0], *below), options, ranking) if policy.keeps_emergency_rung else None
    steps = [feasible[0], *below, *([emergency] if emergency else [])]
    rungs = choose_rungs([ranking.latency_ms(option) for option in steps], policy.rungs)
    return tuple(steps[index] for index in rungs)


def _frontier_below(chosen: Option, feasible: Sequence[Option], ranking: Ranking) -> tuple[Option, ...]:
    if chosen.quality.value is None:
        return ()
    faster = [option for option in feasible if _is_below(option, chosen, ranking)]
    points = [(-(option.quality.value or 0.0), ranking.latency_ms(option)) for option in faster]
    found = sorted((faster[index] for index in frontier(points)), key=lambda option: -ranking.latency_ms(option))
    # Two configurations of one variant differ in quality by the runtime's rounding only: the faster one is enough.
    fastest = {option.configuration.variant_id: option for option in found}
    return tuple(option for option in found if fastest[option.configuration.variant_id] is option)


def _emergency_rung(rungs: Sequence[Option], options: Sequence[Option], ranking: Ranking) -> Option | None:
    """The fastest configuration measured here that misses at most quality constraints, when it is a further step."""
    usable = [
        option
        for option in options
        if option.is_comparable and all(violation.is_of_quality for violation in option.violations)
    ]
    fastest = min(usable, key=lambda option: (ranking.latency_ms(option), key_of(option.configuration)))
    taken = {option.configuration.variant_id for option in rungs}
    if fastest.configuration.variant_id in taken or not _is_below(fastest, rungs[-1], ranking):
        return None
    return fastest


def _is_below(option: Option, other: Option, ranking: Ranking) -> bool:
    """Faster and less good, of another variant."""
    if option.quality.value is None or other.quality.value is None:
        return False
    return (
        option.configuration.variant_id != other.configuration.variant_id
        and ranking.latency_ms(option) < ranking.latency_ms(other)
        and option.quality.value < other.quality.value
    )


def _slo(policy: Policy, baseline: Mapping[Metric, Figure], model: Model) -> Slo | None:
    """What serving is held to: the policy's ``slo``, else its latency constraint; None when it has neither."""
    if policy.slo is not None:
        return Slo(round(policy.slo.latency_ms * _NS_PER_MS), policy.slo.percentile)
    constraint = policy.slo_constraint()
    if constraint is None:
        return None
    latency_ms = absolute_bound(constraint.bound, constraint.metric, baseline, model)
    if latency_ms is None:
        return None
    return Slo(round(latency_ms * _NS_PER_MS), LATENCY_PERCENTILES[constraint.metric])
