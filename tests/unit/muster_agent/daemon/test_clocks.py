"""A wall clock in 1970, ten years ahead or a day behind changes nothing that is stored: versions, numbers, pointers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.testing import ManualClock
from muster_protos.model import BenchmarkRequest as Request
from muster_protos.model import Configuration, Event, RecordState

NOW_S = 1_800_000_000
CLOCKS = {"1970": 60, "in ten years": NOW_S + 10 * 365 * 86_400, "yesterday": NOW_S - 86_400}


def set_clock(house, seconds: float) -> None:
    house.clock = ManualClock(int(seconds * 1e9))
    house.restart()
    house.link.come_up()
    house.settle()


@pytest.mark.parametrize("clock", CLOCKS, ids=CLOCKS)
def test_a_device_converges_serves_and_reports_whatever_its_clock_says(online, clock):
    set_clock(online, CLOCKS[clock])
    request = Request("b1", 0, Configuration("digits.v1.int8", "onnxruntime", "cpu", 1))
    online.want(replace(online.grant("d1"), is_committed=True), benchmarks=(request,))
    assert online.daemon.reported().is_converged, online.daemon.reported().reason
    assert online.served.up["digits"].grant.deployment_id == "d1"
    (record,) = [r.body for r in online.link.reports() if not isinstance(r.body, Event)]
    assert record.state is not RecordState.INVALID


@pytest.mark.parametrize("clock", CLOCKS, ids=CLOCKS)
def test_a_clock_that_jumps_after_a_reboot_moves_no_version_and_rolls_nothing_back(online, clock):
    online.want(replace(online.grant("d1"), is_committed=True))
    used = {report.sequence for report in online.link.reports()}
    version = online.daemon.reported().desired_version
    set_clock(online, CLOCKS[clock])
    online.pass_time(40)
    record = online.state.serving()["digits"]
    assert (record.target.deployment_id, record.conclusions) == ("d1", ())
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert online.daemon.reported().desired_version == version
    later = [report.sequence for report in online.state.reports(0, 100)]
    assert used < set(later), "what waited waits, and new numbers are new"
    assert max(later) > max(used)


def test_two_lives_that_both_begin_in_1970_never_share_a_number(online):
    set_clock(online, 60)
    online.want(replace(online.grant("d1"), is_committed=True))
    used = {report.sequence for report in online.link.reports()}
    online.state.close()
    (online.folder / "agent.sqlite3").write_bytes(b"\0" * 8192)
    online.clock = ManualClock(60 * 10**9)
    online.served.up.clear()
    online.boot()
    online.link.come_up()
    online.settle()
    again = {report.sequence for report in online.state.reports(0, 1000)}
    assert again
    assert used.isdisjoint(again)
