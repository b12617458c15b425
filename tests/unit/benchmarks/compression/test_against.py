from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.compression.against import against_others, transformers
from benchmarks.compression.rows import Beside, SideRow

OURS = SideRow("mnist", "static int8", "muster", 0.98, 0.97, 0.99, 0.99, 40_000, 0.1, 2.0)
OTHER = replace(OURS, way="library's defaults", ours=Beside(1.0, 0.99, 1.01, is_noisy=False))


def test_an_equal_way_is_at_least_as_good():
    assert against_others([OTHER, OURS])[0].endswith("no slower by more than 2%: yes")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"accuracy": 0.975}, "0.50 points less accurate"),
        ({"size_bytes": 42_000}, "5.0 % larger"),
    ],
)
def test_where_ours_is_worse_it_says_so(changes, text):
    assert f"**not**: {text}" in against_others([OTHER, replace(OURS, **changes)])[0]


def test_speed_is_compared_by_turns_with_ours_not_by_ratios_to_something_else():
    def told(ratio: float) -> str:
        return against_others([replace(OTHER, ours=Beside(ratio, ratio, ratio, is_noisy=False)), OURS])[0]

    assert "**not**: 25 % slower" in told(0.8)
    assert told(0.985).endswith("yes")  # two percent of a latency are no difference
    assert "latency not compared" in against_others([replace(OTHER, ours=None), OURS])[0]


def test_a_way_that_failed_is_no_win():
    broken = replace(OTHER, accuracy=None, note="it crashed")
    assert "could not be made (it crashed)" in against_others([broken, OURS])[0]
    assert "ours could not be made" in against_others([OTHER, replace(OURS, accuracy=None, note="no")])[0]


def test_only_its_own_task_and_kind_stand_beside_a_way():
    assert "nothing of ours" in against_others([OTHER, replace(OURS, task="cifar10")])[0]


def test_a_transformer_is_faster_only_when_nearly_every_round_says_so(row):
    plain, row = row, replace(row, heads_before=16, heads_after=8, latency_ratio=1.3, latency_ratio_low=1.2)
    assert transformers([row])[0].endswith("16 > 8 heads; 1.30x the baseline's speed, faster")
    assert transformers([replace(row, latency_ratio_low=0.98)])[0].endswith("NOT faster")
    assert "NOT fewer" in transformers([replace(row, heads_after=16)])[0]
    assert transformers([plain]) == []
