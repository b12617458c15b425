"""What is chosen for a device, and why."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.entities import Candidate, Decision, Device, Model, Variant
from muster_controller.core.grants import grant_of
from muster_controller.core.measured import configuration_text
from muster_controller.core.policy import parse_policy
from muster_controller.core.selection import select
from muster_controller.testing_values import (
    NOW_NS,
    make_accuracy,
    make_configuration,
    make_device,
    make_model,
    make_record,
    make_variant,
    sha256_of,
)
from muster_protos.errors import InfeasibleError
from muster_protos.model import ArtifactRef, BenchmarkRecord, Energy, RecordState, Slo, Tier

MIB = 2**20


def measured(
    name: str,
    p95_ms: float,
    accuracy: float | None = 0.98,
    *,
    peak_mib: float = 20.0,
    size_mib: float = 4.0,
    energy: Energy | None = None,
    agreement: float | None = 0.99,
) -> tuple[Variant, BenchmarkRecord]:
    """A variant and its record on pi-1; fp32 is the baseline."""
    variant = make_variant(name, parent="" if name == "fp32" else "fp32", size_bytes=round(size_mib * MIB))
    figures = make_accuracy(accuracy, agreement) if accuracy is not None or agreement is not None else None
    record = make_record(variant, request_id=f"req-{name}", p95_ms=p95_ms, peak_mib=peak_mib, accuracy=figures)
    return variant, replace(record, energy=energy)


def decide(
    policy: str,
    pairs: Sequence[tuple[Variant, BenchmarkRecord]],
    *,
    device: Device | None = None,
    model: Model | None = None,
    extra: Sequence[BenchmarkRecord] = (),
) -> Decision:
    variants = list({variant.manifest.variant_id: variant for variant, _ in pairs}.values())
    return select(
        parse_policy(policy),
        model or make_model(),
        variants,
        [*(record for _, record in pairs), *extra],
        device or make_device(),
        decision_id="dec-1",
        created_at_ns=NOW_NS,
    )


def verdicts(decision: Decision) -> dict[str, str]:
    return {short(candidate): candidate.verdict for candidate in decision.candidates}


def short(candidate: Candidate) -> str:
    return candidate.configuration.variant_id.rpartition(".")[2]


def ladder(decision: Decision) -> list[str]:
    return [configuration.variant_id.rpartition(".")[2] for configuration in decision.ladder]


FOUR = [
    measured("fp32", 50.0, 0.99),
    measured("fp16", 40.0, 0.985),
    measured("int8", 12.0, 0.97),
    measured("tiny", 3.0, 0.90),
]


class TestChoice:
    def test_the_most_accurate_within_the_limits_is_chosen_and_the_rest_is_explained(self) -> None:
        decision = decide("constraints: {p95_ms: {max: 45}}", FOUR)
        assert decision.chosen == make_configuration("digits.v1.fp16")
        assert ladder(decision) == ["fp16", "int8", "tiny"]
        assert verdicts(decision) == {
            "fp32": "p95_ms 50 ms (upper bound 51 ms) is over the max of 45 ms",
            "fp16": "chosen",
            "int8": "ladder",
            "tiny": "ladder",
        }
        assert decision.slo == Slo(45_000_000, 95.0)
        assert decision.nearest_miss == ""

    def test_the_upper_bound_of_the_interval_must_meet_the_limit(self) -> None:
        decision = decide("constraints: {p95_ms: {max: 50.5}}", FOUR)
        assert decision.chosen == make_configuration("digits.v1.fp16")
        assert decide("constraints: {p95_ms: {max: 51.1}}", FOUR).chosen == make_configuration("digits.v1.fp32")

    @pytest.mark.parametrize(
        ("objective", "chosen"),
        [
            ("accuracy", "fp32"),
            ("latency", "tiny"),
            ("{accuracy: 0.8, latency: 0.2}", "fp32"),
            ("{accuracy: 0.6, latency: 0.4}", "int8"),
            ("{accuracy: 0.2, latency: 0.8}", "tiny"),
        ],
    )
    def test_the_objective_decides(self, objective: str, chosen: str) -> None:
        assert ladder(decide(f"objective: {objective}", FOUR))[0] == chosen

    def test_the_smallest_and_the_most_frugal_can_be_asked_for(self) -> None:
        pairs = [
            measured("fp32", 5.0, 0.99, size_mib=8, energy=Energy("meter", net_mj=3.0)),
            measured("int8", 9.0, 0.99, size_mib=2, energy=Energy("meter", net_mj=4.0)),
            measured("big", 7.0, 0.99, size_mib=9, energy=Energy("meter", net_mj=1.0)),
        ]
        assert ladder(decide("objective: size", pairs))[0] == "int8"
        assert ladder(decide("objective: energy", pairs))[0] == "big"

    def test_the_same_variant_in_another_configuration_is_dominated(self) -> None:
        variant, record = measured("fp32", 50.0, 0.99)
        faster = replace(
            make_record(variant, request_id="req-t4", p95_ms=20.0, accuracy=record.accuracy),
            configuration=make_configuration(threads=4),
        )
        decision = decide("{}", [(variant, record)], extra=[faster])
        assert decision.chosen == make_configuration(threads=4)
        slower = decision.candidates[0]
        assert slower.verdict == (
            "dominated by digits.v1.fp32@onnxruntime/cpu/t4: accuracy 0.99 both, p95_ms 20 ms against 50 ms"
        )

    def test_a_dominated_variant_names_its_dominator(self) -> None:
        decision = decide("{}", [measured("fp32", 10.0, 0.99), measured("int8", 30.0, 0.97)])
        assert ladder(decision) == ["fp32"]
        assert verdicts(decision)["int8"] == (
            "dominated by digits.v1.fp32@onnxruntime/cpu/t1: accuracy 0.99 against 0.97, p95_ms 10 ms against 30 ms"
        )

    def test_a_better_and_slower_one_that_latency_passes_over_is_told_why(self) -> None:
        decision = decide("objective: latency", FOUR)
        assert verdicts(decision)["fp32"].startswith("meets every constraint, but latency prefers digits.v1.tiny@")

    def test_twins_are_told_apart_by_name_and_said_to_be_equal(self) -> None:
        decision = decide("{}", [measured("fp32", 10.0, 0.99), measured("copy", 10.0, 0.99)])
        assert ladder(decision) == ["copy"]
        assert verdicts(decision)["fp32"] == "same figures as digits.v1.copy@onnxruntime/cpu/t1"

    def test_variants_without_a_record_are_listed(self) -> None:
        variants = [*FOUR, (make_variant("prune", parent="fp32"), measured("fp32", 50.0, 0.99)[1])]
        candidate = decide("{}", variants).candidates[-2]
        assert (short(candidate), candidate.verdict) == ("prune", "not benchmarked on this device")


class TestConstraints:
    @pytest.mark.parametrize(
        ("constraint", "ruled_out"),
        [
            ("peak_memory_mb: {max: 15}", "peak_memory_mb 20 MiB is over the max of 15 MiB"),
            ("size_mb: {max: 3.5}", "size_mb 4 MiB is over the max of 3.5 MiB"),
            ("accuracy: {min: 0.99}", "accuracy 0.97 is under the min of 0.99"),
            ("accuracy: {min: -0.01}", "accuracy 0.97 is under the min of 0.98 (-0.01)"),
            ("accuracy: {min: 0.99rel}", "accuracy 0.97 is under the min of 0.9801 (0.99rel)"),
            ("accuracy_drop: {max: 0.01}", "accuracy_drop 0.02 is over the max of 0.01"),
            ("agreement: {min: 0.995}", "agreement 0.99 is under the min of 0.995"),
            ("p99_ms: {max: 10}", "p99_ms is unknown: 200 queries cannot support it: benchmark with a longer tier"),
            ("energy_mj: {max: 10}", "energy_mj is unknown: no power sensor"),
            ("p95_ms: {max: 0.2rel}", "p95_ms 12 ms (upper bound 12.24 ms) is over the max of 10 ms (0.2rel)"),
            ("p95_ms: {min: 20}", "p95_ms 12 ms is under the min of 20 ms"),
        ],
    )
    def test_each_constraint_says_how_it_was_missed(self, constraint: str, ruled_out: str) -> None:
        decision = decide(f"constraints: {{{constraint}}}", [FOUR[0], FOUR[2]])
        assert verdicts(decision)["int8"].startswith(ruled_out) or verdicts(decision)["int8"].endswith(ruled_out)
        assert not next(item for item in decision.candidates if short(item) == "int8").is_feasible

    def test_a_drop_of_exactly_the_limit_is_within_it(self) -> None:
        decision = decide("constraints: {accuracy_drop: {max: 0.01}}\nobjective: latency", [
            measured("fp32", 50.0, 0.989), measured("int8", 12.0, 0.979)])  # fmt: skip
        assert ladder(decision) == ["int8"]

    def test_an_error_metric_is_better_when_smaller(self) -> None:
        pairs = [measured("fp32", 50.0, 2.0), measured("int8", 10.0, 2.3), measured("tiny", 2.0, 4.0)]
        decision = decide("constraints: {accuracy_drop: {max: 0.5}}", pairs, model=make_model(metric="mae"))
        assert ladder(decision) == ["fp32", "int8", "tiny"]
        assert verdicts(decision)["tiny"].startswith("ladder: emergency rung, though accuracy_drop 2")
        assert decide("constraints: {accuracy: {min: -0.5}}", pairs, model=make_model(metric="mae")).chosen is not None

    def test_energies_of_different_methods_are_not_ranked(self) -> None:
        pairs = [
            measured("fp32", 5.0, 0.99, energy=Energy("meter", net_mj=3.0)),
            measured("int8", 4.0, 0.98, energy=Energy("battery", net_mj=1.0)),
        ]
        decision = decide("objective: energy", pairs)
        assert ladder(decision) == ["fp32"]
        assert verdicts(decision)["int8"] == ("its energy was measured by battery, others' by meter: not comparable")

    def test_an_energy_objective_without_a_sensor_chooses_nothing(self) -> None:
        decision = decide("objective: energy", FOUR)
        assert decision.chosen is None
        assert decision.nearest_miss.endswith("objective energy: unknown: no power sensor")

    def test_agreement_stands_in_for_accuracy_where_allowed(self) -> None:
        model = make_model(is_labelled=False)
        pairs = [
            measured("fp32", 50.0, None, agreement=1.0),
            measured("int8", 10.0, None, agreement=0.97),
            measured("tiny", 2.0, None, agreement=0.8),
        ]
        policy = "constraints: {accuracy_drop: {max: 0.05}, p95_ms: {max: 40}}\nallow_agreement: true"
        decision = decide(policy, pairs, model=model)
        assert ladder(decision) == ["int8", "tiny"]
        assert decision.candidates[1].quality_kind == "agreement"

    def test_without_any_quality_the_ladder_is_the_choice_alone(self) -> None:
        pairs = [measured("fp32", 50.0, None, agreement=None), measured("int8", 10.0, None, agreement=None)]
        decision = decide("objective: latency", pairs, model=make_model(is_labelled=False))
        assert ladder(decision) == ["int8"]


class TestNothingFits:
    def test_the_nearest_miss_is_the_smallest_relative_violation(self) -> None:
        decision = decide("constraints: {p95_ms: {max: 10}, accuracy: {min: 0.965}}", FOUR)
        assert decision.chosen is None
        assert decision.ladder == ()
        assert decision.nearest_miss == (
            "digits.v1.tiny@onnxruntime/cpu/t1: accuracy 0.9 is under the min of 0.965 (6.7% beyond the bound)"
        )
        with pytest.raises(InfeasibleError, match="nearest: digits"):
            grant_of(decision, "dep-1")

    def test_a_grant_carries_what_the_rungs_measured(self) -> None:
        variant, record = measured("fp32", 10.0)
        assert record.latency is not None
        skewed = replace(record, latency=replace(record.latency, mean=9_500_000.0))
        (rung,) = grant_of(decide("{}", [(variant, skewed)]), "dep-1").ladder
        assert (rung.p50_ns, rung.p95_ns, rung.mean_ns) == (skewed.latency.p50, skewed.latency.p95, 9_500_000)

    def test_nothing_measured_is_said(self) -> None:
        decision = decide("{}", [(make_variant(), replace(make_record(make_variant()), model_id="another"))])
        assert decision.nearest_miss == "no configuration has been benchmarked on this device"

    def test_only_invalid_records_are_said(self) -> None:
        variant, record = measured("fp32", 10.0)
        crashed = replace(record, state=RecordState.INVALID, latency=None, reasons=("killed by SIGSEGV",))
        decision = decide("{}", [(variant, crashed)])
        assert decision.nearest_miss.endswith("no valid record: killed by SIGSEGV")
        assert decision.chosen is None


class TestWhichRecordsCount:
    def test_the_newest_valid_record_of_a_configuration_speaks(self) -> None:
        variant, old = measured("fp32", 10.0)
        newer = replace(make_record(variant, request_id="b", p95_ms=30.0, finished_at_ns=NOW_NS + 1))
        newest = replace(newer, record_id="c", state=RecordState.INVALID, finished_at_ns=NOW_NS + 2)
        decision = decide("{objective: latency}", [(variant, old)], extra=[newest, newer])
        assert [candidate.record_id for candidate in decision.candidates] == [newer.record_id]

    @pytest.mark.parametrize(
        "change",
        [
            {"model_version": 2},
            {"artifact": ArtifactRef(sha256_of("other bytes"), 1)},
            {"device": replace(make_record(make_variant()).device, device_id="pi-2")},
            {"emulation": make_record(make_variant(), profile="phone").emulation},
        ],
    )
    def test_records_of_something_else_do_not_count(self, change: dict[str, object]) -> None:
        variant, record = measured("fp32", 10.0)
        decision = decide("{}", [(variant, replace(record, **change))])  # type: ignore[arg-type]
        assert decision.chosen is None

    def test_after_a_swap_of_profiles_the_old_profiles_records_do_not_count(self) -> None:
        variant = make_variant()
        as_phone = make_record(variant, request_id="a", p95_ms=9.0, profile="phone", accuracy=make_accuracy())
        as_jetson = make_record(variant, request_id="b", p95_ms=2.0, profile="jetson", accuracy=make_accuracy())
        for profile, p95_ms in (("phone", 9.0), ("jetson", 2.0)):
            device = make_device(profile=profile)
            decision = decide("{}", [(variant, as_phone), (variant, as_jetson)], device=device)
            assert decision.candidates[0].p95_ms == p95_ms
            assert decision.is_emulated
            assert f"emulated: {profile}" in decision.candidates[0].notes

    def test_noisy_throttled_and_demo_records_count_and_it_is_said(self) -> None:
        variant, record = measured("fp32", 10.0)
        for state in (RecordState.TAGGED_NOISY, RecordState.THROTTLED):
            reasons = ("a fan", "demo tier: 1 s, for demonstrations only")  # as the harness says it
            marked = replace(record, state=state, reasons=reasons, workload=replace(record.workload, tier=Tier.DEMO))
            notes = decide("{}", [(variant, marked)]).candidates[0].notes
            assert any(note.endswith(": a fan") for note in notes)
            assert [note for note in notes if "demo" in note] == ["tier demo: for demonstrations only"]

    def test_accuracy_from_the_host_is_used_when_the_device_has_none_and_it_is_said(self) -> None:
        variant = make_variant(accuracy=make_accuracy(0.95))
        record = replace(make_record(variant), accuracy=None)
        candidate = decide("{}", [(variant, record)]).candidates[0]
        assert candidate.quality == 0.95
        assert candidate.notes == ("accuracy from the host, not measured on this device",)

    def test_a_dropped_variant_is_never_chosen(self) -> None:
        variant, record = measured("fp32", 10.0)
        dropped = replace(variant, is_kept=False, dropped_reason="0.91 is under the floor")
        decision = decide("{}", [(dropped, record)])
        assert verdicts(decision)["fp32"] == "dropped: 0.91 is under the floor"
        assert decision.chosen is None


class TestLadder:
    def test_the_fastest_measured_is_the_emergency_rung_though_it_misses_the_quality_limit(self) -> None:
        policy = "constraints: {accuracy: {min: 0.96}}\nladder: {emergency: EMERGENCY}"
        with_it, without = (decide(policy.replace("EMERGENCY", flag), FOUR) for flag in ("true", "false"))
        assert ladder(with_it) == ["fp32", "fp16", "int8", "tiny"]
        assert ladder(without) == ["fp32", "fp16", "int8"]
        tiny = next(item for item in with_it.candidates if short(item) == "tiny")
        assert tiny.verdict == "ladder: emergency rung, though accuracy 0.9 is under the min of 0.96"
        assert not tiny.is_feasible

    def test_an_emergency_rung_must_fit_into_memory(self) -> None:
        pairs = [measured("fp32", 50.0, 0.99), measured("hungry", 5.0, 0.9, peak_mib=900.0)]
        assert ladder(decide("constraints: {peak_memory_mb: {max: 200}}", pairs)) == ["fp32"]

    def test_a_ladder_has_at_most_as_many_rungs_as_the_policy_says(self) -> None:
        pairs = [measured("fp32", 64.0, 0.99)] + [
            measured(f"v{number}", 64.0 / 2**number, 0.99 - number / 100) for number in range(1, 7)
        ]
        decision = decide("ladder: {rungs: 3}", pairs)
        assert ladder(decision) == ["fp32", "v3", "v6"]
        assert verdicts(decision)["v1"] == "on the frontier, left out of a ladder of 3 in even steps"

    def test_a_variant_stands_on_one_rung_only(self) -> None:
        variant, record = measured("int8", 12.0, 0.97)
        rounding = make_record(variant, request_id="t4", p95_ms=6.0, accuracy=make_accuracy(0.969))
        other = replace(rounding, configuration=make_configuration("digits.v1.int8", threads=4))
        decision = decide("{}", [FOUR[0], (variant, record)], extra=[other])
        assert decision.ladder == (make_configuration(), make_configuration("digits.v1.int8", threads=4))

    def test_a_faster_and_better_variant_that_the_objective_passes_over_is_no_rung_below(self) -> None:
        pairs = [
            measured("fp32", 30.0, 0.95, size_mib=1.0),
            measured("wide", 10.0, 0.99, size_mib=100.0),
            measured("tiny", 5.0, 0.90, size_mib=2.0),
        ]
        decision = decide("objective: size", pairs)
        assert ladder(decision) == ["fp32", "tiny"]
        assert verdicts(decision)["wide"] == (
            "meets every constraint, but size prefers digits.v1.fp32@onnxruntime/cpu/t1: "
            "accuracy 0.95 against 0.99, p95_ms 30 ms against 10 ms, size_mb 1 MiB against 100 MiB"
        )

    def test_an_emergency_rung_is_never_better_than_the_rung_above(self) -> None:
        pairs = [measured("fp32", 30.0, 0.95, agreement=1.0), measured("odd", 5.0, 0.99, agreement=0.5)]
        assert ladder(decide("constraints: {agreement: {min: 0.9}}", pairs)) == ["fp32"]

    def test_the_slo_is_the_policys_own_before_the_latency_constraints(self) -> None:
        assert decide("slo: {latency_ms: 60, percentile: 99}\nconstraints: {p95_ms: {max: 70}}", FOUR).slo == Slo(
            60_000_000, 99.0
        )
        assert decide("constraints: {p90_ms: {max: 70}, p99_ms: {max: 80}}", FOUR).slo == Slo(80_000_000, 99.0)
        assert decide("constraints: {p95_ms: {max: 0.5rel}}", FOUR).slo == Slo(25_000_000, 95.0)
        assert decide("{}", FOUR).slo is None

    def test_a_grant_carries_the_ladder_with_the_figures_of_this_device(self) -> None:
        grant = grant_of(decide("constraints: {p95_ms: {max: 45}}", FOUR), "dep-1", http_port=8000)
        assert [configuration_text(rung.configuration) for rung in grant.ladder] == [
            f"digits.v1.{name}@onnxruntime/cpu/t1" for name in ("fp16", "int8", "tiny")
        ]
        assert grant.ladder[0].p50_ns == 32_000_000
        assert grant.ladder[0].p95_ns == 40_000_000
        assert (grant.ladder[0].quality, grant.ladder[0].peak_memory_bytes) == (0.985, 20 * MIB)
        assert (grant.deployment_id, grant.slo, grant.http_port) == ("dep-1", Slo(45_000_000, 95.0), 8000)


names = st.sampled_from(["fp32", "fp16", "int8", "tiny", "prune", "distill"])
rows = st.lists(
    st.tuples(
        names,
        st.integers(1, 4),
        st.floats(0.05, 500.0),
        st.sampled_from([None, 0.5, 0.9, 0.95, 0.97, 0.98, 0.99]),
        st.floats(1.0, 300.0),
        st.sampled_from(list(RecordState)),
    ),
    max_size=14,
)
policies = st.sampled_from(
    [
        "{}",
        "objective: latency",
        "objective: {accuracy: 1, size: 1}",
        "constraints: {p95_ms: {max: 60}, peak_memory_mb: {max: 150}}",
        "constraints: {p95_ms: {max: 0.9rel}, accuracy_drop: {max: 0.02}}\nladder: {rungs: 3}",
        "constraints: {accuracy: {min: 0.94}}\nladder: {emergency: false, rungs: 5}",
        "constraints: {p99_ms: {max: 60}}",
    ]
)


def build(
    drawn: Sequence[tuple[str, int, float, float | None, float, RecordState]],
) -> list[tuple[Variant, BenchmarkRecord]]:
    pairs = []
    for number, (name, threads, p95_ms, accuracy, peak_mib, state) in enumerate(drawn):
        variant = make_variant(name, parent="" if name == "fp32" else "fp32", size_bytes=MIB * (1 + len(name)))
        record = make_record(
            variant,
            request_id=f"r{number}",
            configuration=make_configuration(variant.manifest.variant_id, threads=threads),
            p95_ms=p95_ms,
            peak_mib=peak_mib,
            accuracy=make_accuracy(accuracy),
            state=state,
            finished_at_ns=NOW_NS + number,
        )
        pairs.append((variant, record))
    return pairs


@given(rows, policies)
def test_what_is_chosen_is_feasible_and_the_ladder_falls_in_latency_and_quality(
    drawn: list[tuple[str, int, float, float | None, float, RecordState]], policy: str
) -> None:
    decision = decide(policy, build(drawn))
    by_configuration = {candidate.configuration: candidate for candidate in decision.candidates}
    rungs = [by_configuration[configuration] for configuration in decision.ladder]
    assert (decision.chosen is None) == (not any(item.is_feasible for item in decision.candidates))
    assert (decision.chosen is None) == (decision.nearest_miss != "")
    if not rungs:
        return
    assert rungs[0].configuration == decision.chosen
    assert rungs[0].is_feasible
    assert rungs[0].verdict == "chosen"
    assert len(rungs) <= parse_policy(policy).rungs
    assert len({rung.configuration.variant_id for rung in rungs}) == len(rungs)
    assert all(rung.is_feasible for rung in rungs[:-1])
    for above, below in itertools.pairwise(rungs):
        assert above.p95_ms is not None
        assert below.p95_ms is not None
        assert below.p95_ms < above.p95_ms
        assert above.quality is not None
        assert below.quality is not None
        assert below.quality < above.quality


@given(rows, policies)
def test_no_feasible_configuration_dominates_the_choice(
    drawn: list[tuple[str, int, float, float | None, float, RecordState]], policy: str
) -> None:
    decision = decide(policy, build(drawn))
    chosen = next((item for item in decision.candidates if item.verdict == "chosen"), None)
    if chosen is None or chosen.quality is None:
        return
    for other in decision.candidates:
        if other.is_feasible and other.quality is not None and "size" not in policy:
            assert chosen.p95_ms is not None
            assert other.p95_ms is not None
            assert not (
                other.quality >= chosen.quality
                and other.p95_ms <= chosen.p95_ms
                and (other.quality, other.p95_ms) != (chosen.quality, chosen.p95_ms)
            )


@given(rows, policies, st.integers(0, 2**32))
def test_the_order_of_variants_and_configurations_is_irrelevant(
    drawn: list[tuple[str, int, float, float | None, float, RecordState]], policy: str, seed: int
) -> None:
    """Of one configuration the order of arrival decides, and nothing else does."""
    pairs = build(drawn)
    places = [random.Random(f"{seed} {pair[1].configuration}").random() for pair in pairs]
    shuffled = [pair for _, pair in sorted(zip(places, pairs, strict=True), key=lambda item: item[0])]
    assert decide(policy, pairs) == decide(policy, shuffled)


@given(rows, policies)
def test_every_configuration_has_a_verdict(
    drawn: list[tuple[str, int, float, float | None, float, RecordState]], policy: str
) -> None:
    decision = decide(policy, build(drawn))
    assert all(candidate.verdict for candidate in decision.candidates)
    assert len({candidate.configuration for candidate in decision.candidates}) == len(decision.candidates)
