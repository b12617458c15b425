"""Messages that come twice, late, in another order, too large, or for a device that is gone. Over both links."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from muster_agent.testing_network import CALM, Weather
from muster_protos import codec
from muster_protos.errors import MusterError
from muster_protos.limits import MAX_AGENT_MESSAGE_BYTES
from muster_protos.model import AgentMessage, ControllerMessage, Event, Report, ReportAck, UpMessage
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will
from muster_protos.mqtt.topics import DeviceTopics, Up

KIB, MIB = 1024, 1024 * 1024
DAY_S = 86_400.0

pytestmark = [pytest.mark.faults]


def test_each_report_a_hundred_times_is_stored_once(fleet: Any) -> None:
    device = fleet.device("pi-1")
    device.link.copies = 100
    for _ in range(5):
        device.report(8)
        fleet.settle(device)
    fleet.until(lambda: fleet.sink.heard["pi-1"] == 4000)
    device.link.copies = 1
    fleet.settle(device)
    fleet.check()
    assert len(fleet.stored(device)) == 40


def test_old_desired_states_again_in_any_order_are_ignored(fleet: Any, seed: int) -> None:
    """Over MQTT the last of them stays at the broker, and greets the device when it comes back."""
    device = fleet.device("pi-1")
    for number in range(4):
        fleet.push(device, 64 * KIB, f"net{number}")
        fleet.settle(device)
    old, chance = list(device.link.desired)[:-1], random.Random(seed)
    assert len(old) >= 4
    newest, last = device.state.versions[-1], None
    for _ in range(100):
        message = last = chance.choice([each for each in old if each is not last])  # a retained double is told once
        known = len(device.link.desired)
        fleet.sink.live["pi-1"].send(message)
        fleet.until(lambda: len(device.link.desired) > known)  # noqa: B023
    assert device.state.versions[-1] == newest
    device.proxy.reset()
    fleet.until(lambda: device.link.onlines == 2)
    device.report(3)
    fleet.settle(device)
    fleet.check()
    assert device.state.versions[-1] == newest
    assert len(device.link.desired) >= 100


def test_reports_of_yesterday_are_stored(fleet: Any) -> None:
    """They waited in the device while the controller's clock went on by a day."""
    device = fleet.device("pi-1")
    device.report(5)
    fleet.settle(device)
    device.proxy.freeze()
    device.report(25)
    fleet.lab.clock.advance(DAY_S)
    fleet.until(lambda: not device.link.is_online)
    device.proxy.thaw()
    fleet.settle(device)
    fleet.check()
    assert len(fleet.stored(device)) == 30


def test_words_of_a_device_that_was_removed_meanwhile_change_nothing(
    fleet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = fleet.device("pi-2")
    device = fleet.device("pi-1")
    device.report(5)
    fleet.settle(device)
    device.proxy.freeze(is_return=False)
    device.report(25)
    device.daemon.inbox.wake.set()
    fleet.lab.service.devices.remove("pi-1")
    device.proxy.thaw()
    fleet.until(lambda: not device.link.is_online)
    fleet.until(lambda: "pi-1" not in fleet.sink.live)
    device.proxy.reset()
    other.report(20)
    fleet.settle(other)
    fleet.check(other)
    assert len(fleet.stored(device)) == 5
    assert fleet.sink.opened == {"pi-1": 1, "pi-2": 1}, "it stays away, and nobody else noticed"
    broken = ("the session failed", "was not taken")
    assert not [record for record in caplog.records if record.getMessage().endswith(broken)], "it heard the word"


def oversized(session_id: str = "") -> bytes:
    report = AgentMessage(Report("events", 1, 1, Event("e-1", reason="x" * (MAX_AGENT_MESSAGE_BYTES + MIB))))
    return codec.encode(UpMessage(session_id, 1, report)) if session_id else codec.encode(report)


def say_too_much(fleet: Any, device_id: str) -> None:
    """One message that is larger than a link carries, past the agent's own check."""
    credentials = fleet.credentials(device_id)
    if fleet.kind == "mqtt":
        topics = DeviceTopics(fleet.fleet_id, device_id)
        line = BrokerConnection(
            Endpoint("127.0.0.1", fleet.port, device_id),
            Patience(keepalive_s=5, connect_timeout_s=5.0),
            Will(topics.presence, b""),
            lambda *_: None,
        )
        line.open(credentials, topics.subscriptions())
        line.publish(topics.up(Up.REPORT), oversized("0123456789abcdef"), 1)
        while not line.is_settled:
            line.turn(0.1)
        line.close(is_clean=True)
        return
    security = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)

    def words() -> Iterator[bytes]:
        yield oversized()
        threading.Event().wait(5)

    with grpc.secure_channel(f"127.0.0.1:{fleet.port}", security) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            list(channel.stream_stream("/muster.v1.Link/Connect")(words(), timeout=20))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_larger_than_any_link_carries_is_its_senders_trouble_alone(fleet: Any) -> None:
    other = fleet.device("pi-2")
    fleet.push(other, 4 * MIB)
    for number in range(3):
        say_too_much(fleet, f"pi-big-{number}")
    other.report(20)
    fleet.settle(other)
    fleet.check()
    assert fleet.sink.opened["pi-2"] == other.link.onlines == 1
    assert all(not fleet.sink.heard[f"pi-big-{number}"] for number in range(3))


def test_a_device_that_reads_too_slowly_holds_up_nobody(fleet: Any) -> None:
    """It is sent twenty megabytes at two kilobytes a second; it may lose its session, and nothing else."""
    other = fleet.device("pi-2")
    device = fleet.device("pi-1", Weather(bytes_per_s=20_000))
    fleet.settle(device)
    device.proxy.weather = Weather(bytes_per_s=2_000)
    session = fleet.sink.live["pi-1"]
    flood = ControllerMessage(ReportAck("nobody", 0, 1, "x" * 2_000))
    for _ in range(10_000):
        session.send(flood)
    device.report(20)
    for _ in range(5):
        other.report(10)
        fleet.settle(other, 10.0)
    assert other.link.onlines == fleet.sink.opened["pi-2"] == 1
    device.proxy.weather = CALM
    device.proxy.reset()
    fleet.settle(device)
    fleet.check()


def test_an_error_of_the_link_is_one_of_ours(fleet: Any) -> None:
    """Whatever breaks while a certificate is renewed: the caller gets an error that says to try again, in time."""
    device = fleet.device("pi-1")
    device.proxy.freeze()
    with pytest.raises(MusterError):
        device.link.renew(b"-----BEGIN CERTIFICATE REQUEST-----")
    device.proxy.thaw()
    fleet.settle(device)
    fleet.check()
