import pytest

from muster_bench.tiers import run_length
from muster_protos.errors import InvalidInputError
from muster_protos.model import Tier


@pytest.mark.parametrize(
    ("tier", "queries", "seconds"),
    [(Tier.DEMO, 16, 1), (Tier.QUICK, 64, 5), (Tier.STANDARD, 1024, 60), (Tier.CERTIFY, 4096, 600)],
)
def test_tiers_have_their_queries_and_duration(tier, queries, seconds):
    length = run_length(tier)
    assert (length.min_queries, length.min_duration_s, length.cap_s) == (queries, seconds, 600)


def test_percentiles_of_the_policy_raise_the_queries():
    assert run_length(Tier.QUICK, (95,)).min_queries == 130
    assert run_length(Tier.DEMO, (90, 99)).min_queries == 662
    assert run_length(Tier.STANDARD, (95,)).min_queries == 1024


def test_an_unknown_tier_and_a_percentile_of_100_are_refused():
    with pytest.raises(InvalidInputError, match="tier"):
        run_length(Tier.UNSPECIFIED)
    with pytest.raises(InvalidInputError, match="percentile"):
        run_length(Tier.QUICK, (100,))
