"""Only a newer, genuine desired state for this very device is adopted."""

from __future__ import annotations

from dataclasses import replace

from muster_agent.testing import sign_desired, sign_manifest
from muster_protos.errors import TemporaryError
from muster_protos.model import BenchmarkRequest, Configuration, DesiredModel, SignedEnvelope

INT8 = Configuration("digits.v1.int8", "onnxruntime", "cpu", 1)


def version_of(house):
    reported = house.daemon.reported()
    return reported.epoch, reported.desired_version


def test_older_and_repeated_versions_are_ignored_without_a_verification(online):
    online.want(version=5)
    batches = len(online.verifier.batches)
    online.want(version=5)
    online.want(version=4)
    online.want(version=9, epoch=0)
    assert version_of(online) == (1, 5)
    assert len(online.verifier.batches) == batches


def test_a_restored_fleet_with_a_higher_epoch_wins(online):
    online.want(version=5)
    online.want(version=1, epoch=2)
    assert version_of(online) == (2, 1)


def test_a_forged_state_is_refused_reported_and_not_persisted(online):
    online.want(version=1)
    online.link.deliver(online.desired(version=9), key_id="foreign")
    online.settle()
    assert version_of(online) == (1, 1)
    assert "refused" in online.link.last_reported().reason
    assert online.events().count("desired.refused") == 1
    online.restart()
    assert version_of(online) == (1, 1)


def test_a_forged_manifest_inside_a_genuine_state_is_refused(online):
    manifests = (sign_manifest(online.manifest("fp32"), key_id="foreign"),)
    online.link.deliver(online.desired(models=(DesiredModel("digits", 1, manifests),)))
    online.settle()
    assert version_of(online) == (0, 0)
    assert online.cache.cached() == frozenset()


def test_a_state_of_another_device_or_fleet_is_refused(online):
    online.want(device_id="other")
    online.want(fleet_id="other")
    assert version_of(online) == (0, 0)


def test_a_manifest_with_a_path_for_a_name_is_refused(online):
    bad = replace(
        online.manifest("fp32"), artifact=replace(online.manifest("fp32").artifact, sha256="../../etc/passwd")
    )
    online.link.deliver(online.desired(models=(DesiredModel("digits", 1, (sign_manifest(bad),)),)))
    online.settle()
    assert version_of(online) == (0, 0)
    assert "sha256" in online.link.last_reported().reason


def test_the_stored_envelope_is_the_received_one_byte_for_byte(online):
    desired = online.desired()
    envelope = sign_desired(desired)
    longer = SignedEnvelope(envelope.payload_type, envelope.payload + b"\xfa\x07\x01x", envelope.signatures)
    online.link.deliver_envelope(longer)  # a field of a newer controller
    online.settle()
    assert online.state.desired() == longer


def test_a_verifier_that_cannot_answer_is_asked_again(online):
    online.verifier.next_error = TemporaryError("no memory for the child")
    online.want(version=3)
    assert version_of(online) == (0, 0)
    online.pass_time(3)
    assert version_of(online) == (1, 3)


def test_bytes_that_are_no_desired_state_are_refused(online):
    online.link.deliver_envelope(SignedEnvelope("muster.v1.DesiredState", b"\xff\xff\xff", ()))
    online.settle()
    assert "refused" in online.link.last_reported().reason


def test_a_state_that_only_closes_other_benchmarks_is_checked_when_the_running_one_has_ended(online):
    requests = tuple(BenchmarkRequest(f"b{number}", 0, INT8) for number in range(2))
    online.want()
    seen = []

    def next_version_arrives():
        if online.measurer.benchmarks == ["b0"]:
            online.link.deliver(online.desired(benchmarks=requests[:1]))
            online.daemon.turn()
            seen.append(len(online.verifier.batches))

    online.measurer.while_running = next_version_arrives
    online.want(benchmarks=requests)
    assert seen == [2]  # the first two states, not the third
    assert online.daemon.reported().desired_version == 3
    assert online.measurer.benchmarks == ["b0"]


def test_a_grant_is_checked_at_once_even_beside_a_benchmark(online):
    request = BenchmarkRequest("b0", 0, INT8)
    online.want()
    seen = []

    def grant_arrives():
        online.link.deliver(online.desired(online.grant("d1"), benchmarks=(request,)))
        online.measurer.while_running = None
        online.daemon.turn()
        seen.append(len(online.verifier.batches))

    online.measurer.while_running = grant_arrives
    online.want(benchmarks=(request,))
    assert seen == [3]
    assert online.served.up["digits"].grant.deployment_id == "d1"
    assert online.measurer.benchmarks[-1] == "b0"
