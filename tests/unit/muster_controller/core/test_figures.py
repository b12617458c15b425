"""A record's figures in the units of policies, with the worst end or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_controller.core.figures import Figure, accuracy_of, figures_of, quality_figures, quality_of
from muster_controller.core.measured import configuration_text
from muster_controller.core.policy import PolicyError, check_policy, parse_policy
from muster_controller.core.policy_terms import Metric
from muster_controller.testing_values import make_accuracy, make_configuration, make_model, make_record, make_variant
from muster_protos.model import Accuracy, Configuration, Energy, Memory

VARIANT = make_variant(size_bytes=3 * 2**20)
RECORD = make_record(VARIANT, p95_ms=10.0, peak_mib=20.0)


def test_figures_are_in_ms_mib_and_mj_with_the_worst_end() -> None:
    record = replace(RECORD, energy=Energy("meter", net_mj=4.0, ci_high_mj=5.0))
    figures = figures_of(record, VARIANT.manifest)
    assert figures[Metric.P95_MS] == Figure(10.0, 10.2)
    assert figures[Metric.P90_MS] == Figure(9.5, 9.5), "no interval is known"
    assert figures[Metric.PEAK_MEMORY_MB].value == pytest.approx(20.0)
    assert figures[Metric.SIZE_MB] == Figure(3.0, 3.0)
    assert figures[Metric.ENERGY_MJ] == Figure(4.0, 5.0)


@pytest.mark.parametrize(
    ("change", "metric", "reason"),
    [
        ({"latency": None, "reasons": ("SIGSEGV",)}, Metric.P50_MS, "SIGSEGV"),
        ({"latency": None, "reasons": ()}, Metric.P95_MS, "no latency was measured"),
        ({}, Metric.P99_MS, "200 queries cannot support it: benchmark with a longer tier"),
        ({"memory": None}, Metric.PEAK_MEMORY_MB, "peak memory was not measured"),
        ({"memory": Memory()}, Metric.PEAK_MEMORY_MB, "peak memory was not measured"),
        ({"energy": None}, Metric.ENERGY_MJ, "no power sensor"),
        ({"energy": Energy("battery", unavailable_reason="on charger")}, Metric.ENERGY_MJ, "on charger"),
    ],
)
def test_a_missing_figure_has_its_reason(change: dict[str, object], metric: Metric, reason: str) -> None:
    figure = figures_of(replace(RECORD, **change), VARIANT.manifest)[metric]  # type: ignore[arg-type]
    assert figure == Figure(None, None, reason)


def test_the_high_water_mark_speaks_where_no_net_peak_is_known() -> None:
    record = replace(RECORD, memory=Memory(peak_hwm=30 * 2**20))
    assert figures_of(record, VARIANT.manifest)[Metric.PEAK_MEMORY_MB].value == 30.0


def test_accuracy_is_the_devices_before_the_hosts() -> None:
    manifest = make_variant(accuracy=make_accuracy(0.9)).manifest
    assert accuracy_of(replace(RECORD, accuracy=make_accuracy(0.8)), manifest) == (make_accuracy(0.8), True)
    nothing = Accuracy(unavailable_reason="no evaluation set was fetched")
    assert accuracy_of(replace(RECORD, accuracy=nothing), manifest) == (make_accuracy(0.9), False)
    assert accuracy_of(None, manifest) == (make_accuracy(0.9), False)


@pytest.mark.parametrize(
    ("accuracy", "is_labelled", "policy", "value", "kind"),
    [
        (make_accuracy(0.9), True, "{}", 0.9, "accuracy"),
        (None, True, "{}", None, "none"),
        (make_accuracy(None, 0.97), True, "allow_agreement: true", None, "none"),
        (make_accuracy(None, 0.97), False, "allow_agreement: true", 0.97, "agreement"),
        (make_accuracy(None, None), False, "allow_agreement: true", None, "none"),
        (make_accuracy(None, 0.97), False, "objective: latency", None, "none"),
    ],
)
def test_quality_is_accuracy_or_an_agreement_that_is_allowed(
    accuracy: Accuracy | None, is_labelled: bool, policy: str, value: float | None, kind: str
) -> None:
    quality = quality_of(accuracy, make_model(is_labelled=is_labelled), parse_policy(policy))
    assert (quality.value, quality.kind) == (value, kind)
    assert (quality.reason == "") == (value is not None)


def test_a_smaller_error_is_a_better_quality() -> None:
    model = make_model(metric="mae")
    better, worse = (quality_of(make_accuracy(value), model, parse_policy("{}")).value for value in (1.0, 2.0))
    assert better is not None
    assert worse is not None
    assert better > worse


def test_a_drop_needs_the_baselines_accuracy() -> None:
    figures = quality_figures(make_accuracy(0.9), None, make_model())
    assert figures[Metric.ACCURACY_DROP].reason == "the accuracy of the uncompressed variant is unknown"
    assert figures[Metric.ACCURACY].value == 0.9


def test_quality_constraints_need_evaluation_data() -> None:
    model = replace(make_model(is_labelled=False), evaluation=None)
    with pytest.raises(PolicyError, match="has no evaluation data"):
        check_policy(parse_policy("objective: latency\nconstraints: {agreement: {min: 0.9}}"), model)


def test_a_configuration_is_shown_as_variant_runtime_provider_threads() -> None:
    assert configuration_text(make_configuration(threads=2)) == "digits.v1.fp32@onnxruntime/cpu/t2"
    assert configuration_text(Configuration("digits.v1.fp32")) == "digits.v1.fp32"
