"""What the access rules allow on a real mosquitto. Each "nothing" is proven by what was said after it and did come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from muster_protos.broker_names import CONTROLLER
from muster_protos.errors import NotAuthorisedError
from muster_protos.mqtt.visit import Visit, Will

ROOT = "muster/1/fleet-1"


@pytest.mark.parametrize("name", ["presence", "reported", "up/hello", "up/report"])
def test_device_writes_its_own(visit: Callable[..., Visit], name: str) -> None:
    with visit(CONTROLLER) as controller, visit("a") as device:
        controller.subscribe(f"{ROOT}/#")
        device.publish(f"{ROOT}/a/{name}", b"said")
        assert controller.receive(5.0) == (f"{ROOT}/a/{name}", b"said")


@pytest.mark.parametrize("topic", ["a/desired", "a/down/ack", "a/down/block", "controller/presence"])
def test_device_reads_its_own(visit: Callable[..., Visit], topic: str) -> None:
    with visit(CONTROLLER) as controller, visit("a") as device:
        device.subscribe(f"{ROOT}/{topic}")
        controller.publish(f"{ROOT}/{topic}", b"said")
        assert device.receive(5.0) == (f"{ROOT}/{topic}", b"said")


@pytest.mark.parametrize("retain", [False, True])
def test_device_writes_nothing_else(visit: Callable[..., Visit], retain: bool) -> None:
    others = [f"{ROOT}/b/{name}" for name in ("presence", "reported", "up/report", "desired", "down/ack")]
    forbidden = [
        *others,
        f"{ROOT}/a/desired",
        f"{ROOT}/a/down/welcome",
        f"{ROOT}/a/other",
        f"{ROOT}/a/up/other",
        f"{ROOT}/a/up/hello/other",
        f"{ROOT}/controller/presence",
        "muster/1/fleet-2/a/up/hello",
        f"{ROOT}/a",
    ]
    with visit(CONTROLLER) as controller, visit("b") as victim, visit("a") as device:
        controller.subscribe("muster/#")
        victim.subscribe(f"{ROOT}/b/desired", f"{ROOT}/b/down/#", f"{ROOT}/controller/presence")
        for topic in forbidden:
            device.publish(topic, b"forged", retain=retain)
        device.publish(f"{ROOT}/a/up/hello", b"the end")
        assert controller.receive(5.0) == (f"{ROOT}/a/up/hello", b"the end")
        controller.publish(f"{ROOT}/b/down/ack", b"the end")
        assert victim.receive(5.0) == (f"{ROOT}/b/down/ack", b"the end")


def test_device_reads_nothing_else_whatever_it_subscribes_to(visit: Callable[..., Visit]) -> None:
    with visit(CONTROLLER) as controller, visit("a") as device, visit("b") as other:
        device.subscribe("#", "$SYS/#", f"{ROOT}/+/up/#", f"{ROOT}/b/#", f"{ROOT}/#", "$share/x/muster/#")
        other.publish(f"{ROOT}/b/up/report", b"secret")
        other.publish(f"{ROOT}/b/presence", b"secret", retain=True)
        for name in ("desired", "down/block", "down/welcome"):
            controller.publish(f"{ROOT}/b/{name}", b"secret", retain=True)
        controller.publish(f"{ROOT}/a/down/ack", b"the end")
        assert device.receive(5.0) == (f"{ROOT}/a/down/ack", b"the end")


def test_device_cannot_take_anothers_client_id(visit: Callable[..., Visit]) -> None:
    with visit(CONTROLLER) as controller, visit("b") as victim:
        victim.subscribe(f"{ROOT}/b/down/#")
        with visit("a", client_id="b") as thief:
            thief.subscribe(f"{ROOT}/b/down/#")
            controller.publish(f"{ROOT}/b/down/ack", b"still here?")
            assert victim.receive(5.0) == (f"{ROOT}/b/down/ack", b"still here?")
            assert thief.receive(0.0) is None
        assert not victim.is_over


def test_will_of_a_device_reaches_its_own_topics_only(visit: Callable[..., Visit]) -> None:
    with visit(CONTROLLER) as controller, visit("a") as device:
        controller.subscribe(f"{ROOT}/#")
        with contextlib.suppress(NotAuthorisedError), visit("c", will=Will(f"{ROOT}/b/presence", b"forged")) as liar:
            liar.break_off()
        with visit("d", will=Will(f"{ROOT}/d/presence", b"lost")) as honest:
            honest.break_off()
        assert controller.receive(5.0) == (f"{ROOT}/d/presence", b"lost")
        device.publish(f"{ROOT}/a/up/hello", b"the end")
        assert controller.receive(5.0) == (f"{ROOT}/a/up/hello", b"the end")
