"""From a grant to a serving process, and back to the last good one when it fails."""

from __future__ import annotations

from dataclasses import replace

from muster_protos.errors import PermanentError, TemporaryError
from muster_protos.model import ArtifactState, DeploymentState


def serving_of(house):
    return house.link.last_reported().serving[0]


def activate(house, deployment_id="d1", is_committed=True, **more):
    house.want(replace(house.grant(deployment_id), is_committed=is_committed), **more)


def test_a_grant_is_fetched_verified_self_tested_and_served(online):
    online.want(online.grant("d1"))
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert [item.variant_id for item in online.measurer.self_tests] == ["digits.v1.fp32", "digits.v1.int8"]
    reported = online.link.last_reported()
    assert reported.is_converged
    assert {item.state for item in reported.artifacts} == {ArtifactState.VERIFIED}
    assert (serving_of(online).state, serving_of(online).http_port) == (DeploymentState.ACTIVATED, 40_001)


def test_the_controllers_commit_makes_it_the_last_good_without_loading_again(online):
    activate(online, is_committed=False)
    grants = len(online.served.grants)
    activate(online, is_committed=True)
    assert len(online.served.grants) == grants
    assert serving_of(online).state is DeploymentState.COMMITTED
    assert online.state.serving()["digits"].last_good.deployment_id == "d1"


def test_a_failed_self_test_rolls_back_marks_bad_and_never_loads(online):
    activate(online)
    online.measurer.bad_variants["digits.v1.int8"] = PermanentError("max abs error 0.9 > 0.05")
    before = len(online.served.grants)
    online.want(online.grant("d2", ("int8",)))
    assert len(online.served.grants) == before
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert serving_of(online).state is DeploymentState.ROLLED_BACK
    assert "max abs error" in serving_of(online).reason
    bad = [item for item in online.link.last_reported().artifacts if item.state is ArtifactState.BAD]
    assert len(bad) == 1
    assert "deployment.rolled_back" in online.events()


def test_a_rolled_back_deployment_is_not_tried_in_a_loop(online):
    activate(online)
    online.served.errors = [PermanentError("digits.v1.fp32: load: protobuf parsing failed")]
    online.want(online.grant("d2"))
    tries = len(online.served.grants)
    online.pass_time(120)
    assert len(online.served.grants) == tries
    assert serving_of(online).state is DeploymentState.ROLLED_BACK
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_a_grant_that_fails_is_never_offered_to_apps(online):
    activate(online)
    online.served.errors = [PermanentError("digits.v1.fp32: load: protobuf parsing failed")]
    online.want(online.grant("d2"))
    assert online.served.offered["digits"].grant.deployment_id == "d1"


def test_a_trial_that_takes_the_process_down_has_the_last_good_loaded_again(online):
    activate(online)
    online.served.errors = [TemporaryError("was ended by SIGSEGV")] * 3
    online.want(online.grant("d2"))
    assert online.served.up == {}
    online.pass_time(200)
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert online.served.offered["digits"].grant.deployment_id == "d1"


def test_the_pointer_is_on_disk_before_the_deployment_is_loaded(online):
    seen = []
    serve = online.served.serve

    def look(grant, timeout_s):
        seen.append(online.state.serving()["digits"].trial.deployment_id)
        return serve(grant, timeout_s)

    online.served.serve = look
    online.want(online.grant("d1"))
    assert seen == ["d1"]


def test_a_trial_that_never_comes_up_goes_back_after_three_starts(online):
    activate(online)
    online.served.errors = [TemporaryError("was ended by SIGKILL")] * 3
    online.want(online.grant("d2"))
    online.pass_time(200)
    assert serving_of(online).state is DeploymentState.ROLLED_BACK
    assert "3 failed starts" in serving_of(online).reason
    assert "SIGKILL" in serving_of(online).reason
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_kills_while_loading_count_as_failed_starts(online):
    activate(online)

    def killed(grant, timeout_s):
        raise SystemError("stands for SIGKILL")

    serve, online.served.serve = online.served.serve, killed
    online.want(online.grant("d2"))
    for _ in range(3):
        online.restart()
        online.settle()
    online.served.serve = serve
    online.restart()
    online.settle()
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_after_a_restart_the_last_good_serves_with_no_controller_and_the_same_ports(online):
    activate(online)
    online.restart()
    online.settle()
    grant = online.served.up["digits"].grant
    assert (grant.deployment_id, grant.http_port, grant.grpc_port) == ("d1", 40_001, 40_002)
    assert online.served.expected == ("digits",)


def test_a_crashed_serving_process_is_restarted_after_a_wait_and_reported(online):
    activate(online)
    online.served.crash("digits", "was ended by SIGSEGV: stack smashed")
    online.settle()
    assert "child.crashed" in online.events()
    assert "SIGSEGV" in serving_of(online).reason
    online.pass_time(5)
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert serving_of(online).reason == ""


def test_the_last_good_is_never_given_up(online):
    activate(online)
    online.served.crash("digits")
    online.served.errors = [TemporaryError("no memory")] * 10
    online.pass_time(2000)
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_a_first_deployment_that_fails_leaves_nothing_up(online):
    online.served.errors = [PermanentError("digits.v1.fp32: load: unknown operator")]
    online.want(online.grant("d1"))
    assert online.served.up == {}
    assert ("digits", "digits.v1.fp32: load: unknown operator") in online.served.stopped
    assert serving_of(online).state is DeploymentState.ROLLED_BACK


def test_taking_the_grant_back_stops_the_model_and_keeps_the_artifacts(online):
    activate(online)
    cached = online.cache.cached()
    online.want()
    assert online.served.up == {}
    assert online.cache.cached() == cached
    assert online.link.last_reported().is_converged


def test_bytes_that_have_rotted_are_never_loaded_and_come_again(online):
    activate(online)
    manifest = online.manifest("fp32")
    online.cache.path(manifest.artifact.sha256).write_bytes(b"rot" * 7)
    online.restart()
    online.settle()
    online.pass_time(2)
    assert [rung.configuration.variant_id for rung in online.served.up["digits"].grant.ladder] == ["digits.v1.int8"]
    told = [report.body for report in online.state.reports(0, 1000) if report.body.kind == "artifact.quarantined"]
    sha256 = manifest.artifact.sha256
    assert [dict(event.details) for event in told] == [{"sha256": sha256, "variant": "digits.v1.fp32"}]
    assert (told[0].model_id, f"artifact {sha256[:12]} has rotted on disk" in told[0].reason) == ("digits", True)
    assert online.noted[-1] == {"digits": "digits.v1.int8"}
    online.link.come_up()
    online.settle()
    online.pass_time(5)
    assert len(online.served.up["digits"].grant.ladder) == 2


def test_only_what_nothing_refers_to_is_collected(online):
    activate(online)
    online.want(online.grant("d2", ("int8",)), names=("int8",))
    kept = {online.manifest(name).artifact.sha256 for name in ("fp32", "int8")}
    assert kept <= online.cache.cached()  # fp32 is in the last good ladder
    online.want(replace(online.grant("d2", ("int8",)), is_committed=True), names=("int8",))
    assert kept <= online.cache.cached()  # d2 has not proved healthy: d1 is there to go back to
    online.pass_time(31)
    assert online.manifest("fp32").artifact.sha256 not in online.cache.cached()
    assert online.manifest("int8").artifact.sha256 in online.cache.cached()


def test_heat_caps_the_ladder_and_calm_lifts_the_cap_after_thirty_seconds(online):
    activate(online)
    online.sensors.heat(79.0)
    online.pass_time(4)
    assert online.served.caps[-1][1].highest_rung == 1
    online.sensors.heat(50.0)
    online.pass_time(25)
    assert online.served.caps[-1][1].highest_rung == 1
    online.pass_time(10)
    assert online.served.caps[-1][1].highest_rung == 0


def test_a_trial_that_stays_up_has_no_starts_against_it(online):
    activate(online, is_committed=False)
    assert online.state.serving()["digits"].trial_starts == 1
    online.pass_time(40)
    assert online.state.serving()["digits"].trial_starts == 0


def test_a_machine_that_slept_has_not_proved_a_trial_healthy(online):
    activate(online, is_committed=False)
    online.clock.advance(3600)
    online.settle()
    assert online.state.serving()["digits"].trial_starts == 1
    online.pass_time(31)
    assert online.state.serving()["digits"].trial_starts == 0


def test_ports_of_before_that_are_taken_meanwhile_are_given_up(online):
    activate(online)
    online.served.errors = [PermanentError("expected port 40001 to be free")]
    online.restart()
    online.settle()
    assert online.served.grants[-1].grant.http_port == 0
    assert online.served.up["digits"].grant.deployment_id == "d1"


def test_a_model_that_comes_up_while_it_is_hot_is_told_the_cap(online):
    activate(online)
    online.sensors.heat(79.0)
    online.pass_time(4)
    told = len(online.served.caps)
    activate(online, "d2")
    online.pass_time(1)
    assert len(online.served.caps) == told + 1
    assert online.served.caps[-1][1].highest_rung == 1
