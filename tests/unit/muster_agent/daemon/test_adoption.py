"""A check of signatures may take a minute: the loop does everything else meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.daemon.runner import InlineRunner
from muster_protos.model import Telemetry


@pytest.fixture
def checks(monkeypatch):
    """The checks that have been begun and not been done."""
    begun = []
    monkeypatch.setattr(InlineRunner, "beside", lambda self, work: begun.append(work))
    return begun


@pytest.fixture
def slow(online, checks):
    """A device that serves, started anew; its check of what lies on disk is done, further ones wait to be."""
    checks.clear()
    online.restart()
    online.settle()
    for work in checks:
        work()
    checks.clear()
    online.link.come_up()
    online.settle()
    return online


def test_the_loop_goes_on_while_a_desired_state_is_checked(slow, checks):
    slow.link.deliver(slow.desired(version=5))
    slow.settle()
    (check,) = checks
    before = [m.body for m in slow.link.sent if isinstance(m.body, Telemetry)]
    slow.pass_time(10)
    assert len([m.body for m in slow.link.sent if isinstance(m.body, Telemetry)]) > len(before)
    assert slow.daemon.reported().desired_version == 0
    check()
    slow.settle()
    assert slow.daemon.reported().desired_version == 5


def test_of_what_arrives_during_a_check_only_the_newest_is_checked(slow, checks):
    for version in (5, 6, 9, 7, 8, 9):
        slow.link.deliver(slow.desired(version=version))
        slow.settle()
    checks.pop()()
    slow.settle()
    checks.pop()()
    slow.settle()
    assert slow.daemon.reported().desired_version == 9
    assert checks == []


def test_a_forged_state_does_not_take_the_place_of_a_genuine_one(slow, checks):
    slow.link.deliver(slow.desired(version=5))
    slow.settle()
    slow.link.deliver(slow.desired(version=10**6), key_id="foreign")
    slow.link.deliver(slow.desired(version=6))
    slow.settle()
    for _ in range(3):
        checks.pop()()
        slow.settle()
    assert slow.daemon.reported().desired_version == 6
    assert "desired.refused" in slow.events()


def test_nothing_is_served_while_what_lies_on_disk_is_being_checked(online, checks, monkeypatch):
    with monkeypatch.context() as at_once:
        at_once.setattr(InlineRunner, "beside", lambda self, work: work())
        online.want(replace(online.grant("d1"), is_committed=True))
    online.link.go_down()
    online.restart()
    online.settle()
    assert online.served.up == {}
    (check,) = checks
    check()
    online.settle()
    assert online.served.up["digits"].grant.deployment_id == "d1"
