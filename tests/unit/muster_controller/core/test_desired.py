"""What a device should be."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.configurations import configurations_of, unsupported_reason
from muster_controller.core.desired import compose, content_sha256, next_version, stamped
from muster_controller.core.entities import (
    Deployment,
    DeviceLoad,
    DeviceRequest,
    Push,
    RequestState,
    Variant,
)
from muster_controller.testing_values import (
    NOW_NS,
    make_configuration,
    make_deployment,
    make_fleet,
    make_inventory,
    make_request,
    make_variant,
)
from muster_protos.model import Configuration, DeploymentState, DesiredState, Format, LoadRequest, RuntimeSupport

VARIANTS = {
    item.manifest.variant_id: item
    for item in (
        make_variant(),
        make_variant("int8", parent="fp32"),
        make_variant("lite", parent="fp32", file_format=Format.TFLITE),
        make_variant(version=2),
    )
}
SERVING = make_deployment(
    state=DeploymentState.COMMITTED, started_at_ns=NOW_NS, variant_ids=("digits.v1.fp32", "digits.v1.int8")
)


def composed(
    *,
    variants: dict[str, Variant] = VARIANTS,
    pushes: tuple[Push, ...] = (),
    requests: tuple[DeviceRequest, ...] = (),
    loads: tuple[DeviceLoad, ...] = (),
    deployments: tuple[Deployment, ...] = (),
) -> DesiredState:
    return compose(make_fleet(epoch=3), "pi-1", make_inventory(), variants, pushes, requests, loads, deployments)


def test_a_device_of_which_nothing_is_asked_should_be_nothing() -> None:
    assert composed() == DesiredState(fleet_id="lab", device_id="pi-1", epoch=3)


def test_pushes_benchmarks_and_ladders_all_bring_their_manifests_verbatim() -> None:
    state = composed(
        pushes=(Push("pi-1", "digits", 2, ("digits.v2.fp32", "digits.v2.gone")),),
        requests=(make_request(configuration=make_configuration("digits.v1.int8")),),
        deployments=(make_deployment(started_at_ns=NOW_NS),),
    )
    assert [(model.model_version, model.serving is not None) for model in state.models] == [(1, True), (2, False)]
    assert state.models[0].manifests == (
        VARIANTS["digits.v1.fp32"].envelope,
        VARIANTS["digits.v1.int8"].envelope,
    )
    assert state.models[0].serving == make_deployment().grant
    assert state.benchmarks == (make_request(configuration=make_configuration("digits.v1.int8")).request,)


def test_the_served_version_of_a_model_comes_first() -> None:
    newer = make_deployment("dep-2", started_at_ns=NOW_NS, version=2, variant_ids=("digits.v2.fp32",))
    state = composed(pushes=(Push("pi-1", "digits", 1, ("digits.v1.fp32",)),), deployments=(newer,))
    assert [model.model_version for model in state.models] == [2, 1]


def test_what_is_for_another_device_closed_or_unsupported_is_left_out() -> None:
    state = composed(
        pushes=(Push("pi-2", "digits", 1, ("digits.v1.fp32",)),),
        requests=(
            make_request("a", device_id="pi-2"),
            replace(make_request("b"), state=RequestState.DONE),
            make_request("c", configuration=make_configuration("digits.v1.lite", "litert", "xnnpack")),
            make_request("d", configuration=make_configuration("digits.v1.gone")),
        ),
        loads=(
            DeviceLoad("l1", "pi-2", LoadRequest("l1", 1), NOW_NS),
            DeviceLoad("l2", "pi-1", LoadRequest("l2", 1), NOW_NS, RequestState.DONE),
        ),
        deployments=(make_deployment("dep-x", "pi-2", started_at_ns=NOW_NS),),
    )
    assert state == DesiredState(fleet_id="lab", device_id="pi-1", epoch=3)


def test_open_loads_stand_in_the_order_in_which_they_were_asked_for() -> None:
    loads = tuple(DeviceLoad(f"l{n}", "pi-1", LoadRequest(f"l{n}", 1), NOW_NS - n) for n in (1, 2))
    assert [load.request_id for load in composed(loads=loads).loads] == ["l2", "l1"]


def test_a_failed_deployment_uncovers_the_one_before() -> None:
    newer = make_deployment("dep-2", started_at_ns=NOW_NS + 1)
    for state, expected in (
        (DeploymentState.PENDING, "dep-2"),
        (DeploymentState.ACTIVATED, "dep-2"),
        (DeploymentState.ROLLED_BACK, "dep-1"),
        (DeploymentState.FAILED, "dep-1"),
        (DeploymentState.CANCELLED, "dep-1"),
    ):
        serving = composed(deployments=(SERVING, replace(newer, state=state))).models[0].serving
        assert serving is not None
        assert serving.deployment_id == expected


def test_a_wave_that_has_not_started_is_not_granted() -> None:
    assert composed(deployments=(make_deployment(),)).models == ()


def test_a_ladder_with_a_removed_variant_is_not_granted() -> None:
    gone = make_deployment(started_at_ns=NOW_NS, variant_ids=("digits.v1.fp32", "digits.v9.fp32"))
    assert composed(deployments=(gone,)).models == ()


@given(st.integers(0, 2**32))
def test_the_order_of_the_input_is_irrelevant(seed: int) -> None:
    pushes = [Push("pi-1", "digits", 1, ("digits.v1.int8",)), Push("pi-1", "digits", 2, ("digits.v2.fp32",))]
    requests = [make_request("b"), make_request("a", configuration=make_configuration("digits.v1.int8"))]
    deployments = [SERVING, make_deployment("dep-2", started_at_ns=NOW_NS + 1)]
    straight = composed(pushes=tuple(pushes), requests=tuple(requests), deployments=tuple(deployments))
    for items in (pushes, requests, deployments):
        random.Random(seed).shuffle(items)
    mixed = composed(pushes=tuple(pushes), requests=tuple(requests), deployments=tuple(deployments))
    assert mixed == straight
    assert content_sha256(mixed) == content_sha256(straight)


def test_version_and_time_do_not_change_the_content() -> None:
    content = composed(deployments=(SERVING,))
    assert content_sha256(stamped(content, 7, NOW_NS)) == content_sha256(content)
    told = replace(SERVING, grant=replace(SERVING.grant, is_committed=True))
    assert content_sha256(composed(deployments=(told,))) != content_sha256(content)


@pytest.mark.parametrize(
    ("stored", "held", "expected"),
    [(None, (0, 0), 1), ((1, 4), (1, 4), 5), ((1, 4), (1, 9), 10), ((1, 4), (0, 9), 5), (None, (1, 9), 10)],
)
def test_the_next_version_is_above_the_stored_and_the_devices(
    stored: tuple[int, int] | None, held: tuple[int, int], expected: int
) -> None:
    assert next_version(stored, held, epoch=1) == expected


def test_configurations_are_every_runtime_that_reads_the_format_with_one_and_all_cores() -> None:
    inventory = make_inventory(cores=4, formats=("onnx", "tflite"))
    onnx = VARIANTS["digits.v1.fp32"].manifest
    lite = VARIANTS["digits.v1.lite"].manifest
    assert configurations_of(onnx, inventory) == (
        Configuration("digits.v1.fp32", "onnxruntime", "cpu", 1),
        Configuration("digits.v1.fp32", "onnxruntime", "cpu", 4),
    )
    assert [(item.provider, item.threads) for item in configurations_of(lite, inventory)] == [
        ("xnnpack", 1),
        ("xnnpack", 4),
    ]
    assert [item.provider for item in configurations_of(lite, inventory, (1,), providers=("cpu", "xnnpack"))] == [
        "cpu",
        "xnnpack",
    ]
    assert configurations_of(onnx, inventory, threads=(2, 64)) == (
        Configuration("digits.v1.fp32", "onnxruntime", "cpu", 2),
    )
    assert configurations_of(onnx, inventory, runtimes=("litert",)) == ()


def test_a_runtime_that_does_not_infer_is_no_configuration() -> None:
    broken = RuntimeSupport("onnxruntime", "1.31.0", ("cpu",), ("onnx",), unavailable_reason="numpy is missing")
    inventory = replace(make_inventory(), runtimes=(broken,))
    manifest = VARIANTS["digits.v1.fp32"].manifest
    assert configurations_of(manifest, inventory) == ()
    assert "numpy is missing" in unsupported_reason(make_configuration(), manifest, inventory)


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        (make_configuration(), ""),
        (make_configuration(runtime="tensorrt"), "no runtime 'tensorrt'"),
        (make_configuration(provider="cuda"), "no provider 'cuda'"),
        (make_configuration(runtime="litert"), "does not read onnx"),
    ],
)
def test_why_a_configuration_is_not_supported_is_said(configuration: Configuration, reason: str) -> None:
    inventory = make_inventory(formats=("onnx", "tflite"))
    found = unsupported_reason(configuration, VARIANTS["digits.v1.fp32"].manifest, inventory)
    assert (found == "") if not reason else (reason in found)
