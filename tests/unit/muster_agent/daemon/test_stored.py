"""What lies on disk is verified at the start, before any of it is served."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.core.wanted import read_model
from muster_agent.testing import sign_desired, sign_manifest
from muster_protos.errors import TemporaryError


@pytest.fixture
def serving(online):
    """A device with a committed deployment, offline."""
    online.want(replace(online.grant("d1"), is_committed=True), version=7)
    online.link.go_down()
    return online


def forged(house, model, content):
    """The model with a manifest of other bytes that this fleet has not signed."""
    manifests = tuple(
        sign_manifest(house.manifest(name, content=content), key_id="foreign") for name in ("fp32", "int8")
    )
    return read_model(replace(model.source, manifests=manifests))


def test_a_start_verifies_everything_on_disk_in_one_call(serving):
    calls = len(serving.verifier.batches)
    serving.restart()
    serving.settle()
    assert len(serving.verifier.batches) == calls + 1
    assert serving.served.up["digits"].grant.deployment_id == "d1"


def test_an_empty_device_verifies_nothing(house):
    assert house.verifier.batches == []


def test_a_last_good_model_that_nobody_signed_is_not_served_and_comes_again(serving):
    record = serving.state.serving()["digits"]
    serving.state.put_serving(replace(record, last_good=forged(serving, record.last_good, "evil")))
    serving.state.put_desired(sign_desired(serving.desired(serving.grant("d1"), version=7), key_id="foreign"))
    serving.restart()
    serving.settle()
    assert serving.served.up == {}
    assert serving.daemon.reported().desired_version == 0
    assert {"state.refused", "desired.refused"} <= set(serving.events())
    serving.link.come_up()
    serving.settle()
    assert (serving.link.hellos()[-1].desired_epoch, serving.link.hellos()[-1].desired_version) == (0, 0)
    serving.want(serving.grant("d1"), version=7)
    assert serving.served.up["digits"].grant.deployment_id == "d1"


def test_a_forged_desired_state_on_disk_does_not_take_the_last_good_model_down(serving):
    serving.state.put_desired(sign_desired(serving.desired(version=10**9), key_id="foreign"))
    serving.restart()
    serving.settle()
    assert serving.daemon.reported().desired_version == 0
    assert serving.served.up["digits"].grant.deployment_id == "d1"


def test_a_forged_trial_is_dropped_and_the_last_good_served(serving):
    record = serving.state.serving()["digits"]
    trial = forged(serving, record.last_good, "evil")
    serving.state.put_serving(replace(record, trial=trial, trial_starts=1))
    serving.restart()
    serving.settle()
    assert serving.served.up["digits"].grant.deployment_id == "d1"
    assert serving.state.serving()["digits"].trial is None


def test_while_nothing_can_be_verified_nothing_is_served(serving):
    serving.state.close()
    serving.served.up.clear()
    serving.verifier.next_error = TemporaryError("no memory for the child")
    serving.boot()
    serving.settle()
    assert serving.served.up == {}
    serving.pass_time(3)
    assert serving.served.up["digits"].grant.deployment_id == "d1"
