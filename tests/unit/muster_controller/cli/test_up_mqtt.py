from __future__ import annotations

from pathlib import Path

import pytest

from muster_controller.cli.broker import MqttOptions
from muster_controller.cli.up import spell_out
from muster_protos.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--mqtt"], ["--mqtt", "own"]),
        (["--mqtt", "--port", "0"], ["--mqtt", "own", "--port", "0"]),
        (["--port", "0", "--mqtt"], ["--port", "0", "--mqtt", "own"]),
        (["--mqtt", "mqtts://h:1", "--lan"], ["--mqtt", "mqtts://h:1", "--lan"]),
        (["--mqtt=mqtts://h:1"], ["--mqtt=mqtts://h:1"]),
        (["--mqtt-port", "0"], ["--mqtt-port", "0"]),
        ([], []),
    ],
)
def test_mqtt_alone_means_a_broker_of_our_own(typed: list[str], meant: list[str]) -> None:
    assert spell_out(typed) == meant


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("mqtts://broker", "broker", 8883), ("mqtts://[::1]:1", "::1", 1), ("mqtts://10.0.0.1:9/", "10.0.0.1", 9)],
)
def test_broker_is_named_by_url(text: str, host: str, port: int) -> None:
    options = MqttOptions(text)
    options.check()
    assert options.address() == (host, port)


@pytest.mark.parametrize(
    "text",
    ["mqtt://broker:1883", "broker", "mqtts://", "mqtts://h:x", "mqtts://u@h", "mqtts://h/topic", "mqtts://h?x=1"],
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="mqtts://HOST:8883"):
        MqttOptions(text).check()


def test_options_of_another_broker_go_with_another_broker() -> None:
    with pytest.raises(UsageError, match="--mqtt mqtts://"):
        MqttOptions("own", ca=Path("ca.pem")).check()
    with pytest.raises(UsageError, match="together"):
        MqttOptions("mqtts://h", certificate=Path("c.pem")).check()
    MqttOptions("mqtts://h", ca=Path("ca.pem"), certificate=Path("c.pem"), key=Path("k.pem")).check()
