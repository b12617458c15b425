from muster_bench.tiers import run_length
from muster_bench.validity import is_overhead_ok, judge
from muster_protos.model import BenchmarkRecord, Latency, RecordState, Tier, Workload

QUICK = run_length(Tier.QUICK, (95,))


def record(n=200, p50=1_000_000, null_overhead=3000, tier=Tier.QUICK):
    return BenchmarkRecord(latency=Latency(n=n, p50=p50, null_overhead=null_overhead), workload=Workload(tier=tier))


def judged(*, queries=200, seconds=5.0, noise=(), **kind):
    return judge(record(**kind), QUICK, (95,), queries, int(seconds * 1e9), noise)


def test_a_run_that_keeps_every_rule_is_valid():
    validity, state, reasons = judged()
    assert (state, reasons) == (RecordState.VALID, ())
    assert validity.min_duration_met
    assert validity.early_stopping_met


def test_noise_tags_and_broken_rules_invalidate():
    assert judged(noise=("cpu pressure 9 %",))[1:] == (RecordState.TAGGED_NOISY, ("cpu pressure 9 %",))
    _, state, reasons = judged(queries=100, seconds=4.0, n=100, noise=("on battery",))
    assert state is RecordState.INVALID
    assert reasons == (
        "ran 4.0 s of at least 5 s",
        "made 100 queries of at least 130",
        "too few latencies for the percentiles that were asked for",
        "on battery",
    )


def test_harness_overhead_beyond_20_us_and_half_a_percent_invalidates():
    assert is_overhead_ok(20_000, 10_000)
    assert not is_overhead_ok(20_001, 10_000)
    assert is_overhead_ok(50_000, 10_000_000)
    assert not is_overhead_ok(None, 10_000_000)
    validity, state, reasons = judged(null_overhead=30_000)
    assert (validity.overhead_ok, state) == (False, RecordState.INVALID)
    assert "30000 ns" in reasons[0]


def test_the_demo_tier_says_so():
    assert judged(tier=Tier.DEMO)[2] == ("demo tier: 1 s, for demonstrations only",)
