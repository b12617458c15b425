"""A deployment that does not start is given up after three tries, whoever it is that dies of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.core.known import start_key
from muster_protos.errors import PermanentError
from muster_protos.model import DeploymentState


class PowerCut(BaseException):
    """The agent is gone in the middle of a step."""


def good_then_new(house):
    """d1 has proved good; d2 is wanted next."""
    house.want(replace(house.grant("d1", ("fp32",)), is_committed=True))
    house.pass_time(31)
    return replace(house.grant("d2", ("int8",)), is_committed=True)


def crash(house, reason="serving process was ended by SIGKILL"):
    house.daemon.inbox.serving_ended("digits", reason)
    house.served.up.clear()
    house.settle()
    house.clock.advance(70)
    house.settle()


def test_a_committed_deployment_that_crash_loops_goes_back_to_the_good_one_before_it(online):
    online.want(good_then_new(online))
    assert online.state.serving()["digits"].last_good.deployment_id == "d2"
    for _ in range(3):
        crash(online)
    record = online.state.serving()["digits"]
    assert record.target.deployment_id == "d1"
    assert online.served.up["digits"].grant.deployment_id == "d1"
    (conclusion,) = record.conclusions
    assert conclusion.state is DeploymentState.ROLLED_BACK
    assert "3 failed starts" in conclusion.reason
    assert "SIGKILL" in conclusion.reason


def test_what_did_not_start_is_marked_bad_with_the_reason_and_reported(online):
    grant = good_then_new(online)
    online.want(grant)
    for _ in range(3):
        crash(online)
    key = start_key(online.manifest("int8").artifact.sha256, grant.ladder[0].configuration)
    assert set(online.state.bad()) == {key}
    assert "deployment d2: 3 failed starts" in online.state.bad()[key]
    reported = next(item for item in online.daemon.reported().artifacts if item.sha256 == key.partition(" ")[0])
    assert "3 failed starts" in reported.reason


def test_it_is_not_tried_again_until_another_deployment_names_it(online):
    grant = good_then_new(online)
    online.want(grant)
    for _ in range(3):
        crash(online)
    online.restart()
    online.want(replace(grant, is_committed=False))
    online.pass_time(120)
    assert online.served.up["digits"].grant.deployment_id == "d1"
    online.want(replace(grant, deployment_id="d3"))
    assert online.served.up["digits"].grant.deployment_id == "d3"
    assert online.state.bad() == {}


def test_a_deployment_that_proved_healthy_is_never_given_up(online):
    online.want(good_then_new(online))
    online.pass_time(31)
    assert online.state.serving()["digits"].before_good is None
    for _ in range(6):
        crash(online)
    assert online.served.up["digits"].grant.deployment_id == "d2"


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_agent_that_dies_of_loading_it_goes_back_after_three_lives(online, is_committed):
    grant = replace(good_then_new(online), is_committed=is_committed)
    serve = online.served.serve

    def die(local, timeout_s):
        if local.grant.deployment_id == "d2":
            raise PowerCut
        return serve(local, timeout_s)

    online.served.serve = die
    online.link.deliver(online.desired(grant))
    lives = 0
    for _ in range(6):
        try:
            online.settle()
            break
        except PowerCut:
            lives += 1
            online.restart()
    assert lives == 3
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_a_device_that_goes_down_in_the_self_test_gives_it_up_after_three_lives(online):
    grant = good_then_new(online)
    tested = []

    def die(subject, configuration):
        tested.append(configuration.variant_id)
        raise PowerCut

    online.measurer.self_test = die
    online.link.deliver(online.desired(grant))
    for _ in range(6):
        try:
            online.settle()
            break
        except PowerCut:
            online.restart()
    assert tested == ["digits.v1.int8"] * 3
    (conclusion,) = online.state.serving()["digits"].conclusions
    assert "self-test of digits.v1.int8@onnxruntime/cpu/t1 was cut off 3 times" in conclusion.reason
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_a_self_test_that_could_not_run_is_not_held_against_the_deployment(online):
    grant = good_then_new(online)
    online.want(grant)
    record = online.state.serving()["digits"]
    assert (record.testing, record.test_starts) == ("", 0)


def test_a_ladder_that_is_refused_names_its_reason(online):
    good_then_new(online)

    def refuse(local, timeout_s):
        raise PermanentError("serving process was killed by the kernel for want of memory (OOM)")

    online.served.serve = refuse
    online.want(online.grant("d2", ("int8",)))
    (conclusion,) = online.state.serving()["digits"].conclusions
    assert "OOM" in conclusion.reason
