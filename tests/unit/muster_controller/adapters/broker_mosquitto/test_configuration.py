from __future__ import annotations

from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_controller.adapters.broker_mosquitto.acl import acl_text
from muster_controller.adapters.broker_mosquitto.configuration import Limits, configuration_text
from muster_protos.errors import InvalidInputError, MissingExtraError
from muster_protos.limits import MAX_CONTROLLER_MESSAGE_BYTES


def test_every_right_is_named_and_no_more() -> None:
    rules = [line for line in acl_text("lab").splitlines() if line and not line.startswith("#")]
    assert rules == [
        "user _controller",
        "topic readwrite muster/1/lab/#",
        "pattern read muster/1/lab/%u/desired",
        "pattern read muster/1/lab/%u/down/#",
        "pattern write muster/1/lab/%u/presence",
        "pattern write muster/1/lab/%u/reported",
        *(
            f"pattern write muster/1/lab/%u/up/{name}"
            for name in [
                "greeting",
                "hello",
                "report",
                "telemetry",
                "progress",
                "goodbye",
                "fetch",
                "renew",
                "join",
                "door",
            ]
        ),
        "pattern read muster/1/lab/controller/presence",
    ]


def test_identity_is_the_certificates_and_nobody_is_anonymous() -> None:
    lines = configuration_text(Path("/data/broker"), "127.0.0.1", 8883, Limits()).splitlines()
    for line in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        "crlfile /data/broker/crl.pem",
        "acl_file /data/broker/acl",
        "listener 8883 127.0.0.1",
        "user root",
        "sys_interval 0",
    ):
        assert line in lines
    assert sum(line.startswith("listener ") for line in lines) == 1


def test_largest_message_of_the_controller_fits() -> None:
    assert Limits().packet_bytes > MAX_CONTROLLER_MESSAGE_BYTES


def test_folder_that_would_add_a_line_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="printable"):
        configuration_text(Path("/data/x\nallow_anonymous true"), "127.0.0.1", 8883, Limits())


def test_mosquitto_that_is_missing_is_told_with_the_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("muster_controller.adapters.broker_mosquitto.broker._ELSEWHERE", ())
    with pytest.raises(MissingExtraError, match="apt-get install") as caught:
        find_mosquitto()
    assert caught.value.exit_code == 3
