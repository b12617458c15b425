"""Which rungs stay in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from muster_agent.serving.errors import GrantError
from muster_agent.serving.resident import build_ladder, discard, load, rss_bytes
from muster_protos.model import LocalGrant


def test_without_a_limit_every_rung_is_loaded(three_rungs: LocalGrant) -> None:
    ladder = build_ladder(three_rungs, 1.0, None, None)
    assert set(ladder.rungs) == {0, 1, 2}
    discard(ladder, None)


def test_on_a_tight_device_only_the_fastest_and_the_active_rung_stay(three_rungs: LocalGrant) -> None:
    ladder = build_ladder(three_rungs, 1.0, rss_bytes() // 2, None)
    assert set(ladder.rungs) == {0, 2}
    assert ladder.guard.active == 0
    discard(ladder, None)


def test_the_same_configuration_is_taken_over_and_not_loaded_twice(three_rungs: LocalGrant) -> None:
    first = build_ladder(three_rungs, 1.0, None, None)
    shorter = dataclasses.replace(three_rungs.grant, ladder=three_rungs.grant.ladder[1:], deployment_id="d2")
    second = build_ladder(dataclasses.replace(three_rungs, grant=shorter), 1.0, None, first)
    assert second.rungs[0] is first.rungs[1]
    assert second.rungs[1] is first.rungs[2]
    discard(second, first)
    assert first.rungs[1].run({"x": np.zeros((1, 64), np.float32)})["y"].shape == (1, 4)
    discard(first, None)


def test_a_grant_without_an_artifact_names_the_variant(three_rungs: LocalGrant) -> None:
    with pytest.raises(GrantError, match=r"net\.v1\.narrow has no artifact") as caught:
        build_ladder(dataclasses.replace(three_rungs, variants=three_rungs.variants[:1]), 1.0, None, None)
    assert caught.value.variant_id == "net.v1.narrow"


def test_an_empty_ladder_is_refused(three_rungs: LocalGrant) -> None:
    empty = dataclasses.replace(three_rungs.grant, ladder=())
    with pytest.raises(GrantError, match="at least one rung"):
        build_ladder(dataclasses.replace(three_rungs, grant=empty), 1.0, None, None)


def test_bytes_that_have_rotted_since_the_grant_are_not_loaded(three_rungs: LocalGrant) -> None:
    path = Path(three_rungs.variants[1].path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GrantError, match="the file has rotted") as caught:
        load(three_rungs, 1, 1.0)
    assert caught.value.variant_id == three_rungs.variants[1].manifest.variant_id
