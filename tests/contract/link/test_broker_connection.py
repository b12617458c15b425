"""The connection to a broker that both ends share: what it refuses, and how it says so."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from muster_protos.broker_names import CONTROLLER
from muster_protos.errors import PermanentError, UnreachableError
from muster_protos.limits import MAX_BROKER_PACKET_BYTES
from muster_protos.mqtt import bounded as module
from muster_protos.mqtt.connection import BrokerConnection, Endpoint, Patience, Will

TOPIC = "muster/1/lab/pi-1/presence"


class Held:
    """A connection with the controller's rights, and what it received."""

    def __init__(self, pair: Any, port: int = 0) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self.connection = BrokerConnection(
            Endpoint("127.0.0.1", port or pair.port, CONTROLLER),
            Patience(keepalive_s=1, connect_timeout_s=1.0),
            Will("muster/1/lab/controller/presence", b""),
            lambda topic, payload, is_retained: self.got.append((topic, payload, is_retained)),
        )
        self.credentials = pair.broker.credentials()

    def turn_until(self, is_true: Any) -> None:
        deadline_s = time.monotonic() + 10
        while not is_true():
            assert time.monotonic() < deadline_s
            self.connection.turn(0.05)


@pytest.fixture
def held(mqtt_pair: Any) -> Iterator[Held]:
    mqtt_pair.stop_controller()
    made = Held(mqtt_pair)
    yield made
    made.connection.close(is_clean=True)


def test_what_is_published_comes_back_and_retained_is_told(held: Held) -> None:
    held.connection.open(held.credentials, (TOPIC,))
    held.connection.publish(TOPIC, b"1", 1, retain=True)
    held.turn_until(lambda: held.got == [(TOPIC, b"1", False)])


def test_no_more_is_taken_than_the_broker_has_acknowledged(held: Held) -> None:
    held.connection.open(held.credentials, (TOPIC,))
    sent = 0
    while held.connection.has_room:
        held.connection.publish(TOPIC, b"x", 1)
        sent += 1
    assert sent == 20
    held.turn_until(lambda: held.connection.has_room)


def test_wake_ends_a_turn(held: Held) -> None:
    held.connection.open(held.credentials, (TOPIC,))
    threading.Timer(0.1, held.connection.wake).start()
    began_s = time.monotonic()
    held.connection.turn(10.0)
    assert time.monotonic() - began_s < 1.0


def test_silent_listener_is_given_up(mqtt_pair: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dialled = Held(mqtt_pair, silent.getsockname()[1])
        began_s = time.monotonic()
        with pytest.raises(UnreachableError, match="found silence"):
            dialled.connection.open(dialled.credentials, (TOPIC,))
        assert time.monotonic() - began_s < 3.0
        dialled.connection.close(is_clean=False)


def test_packet_larger_than_any_message_ends_the_connection(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is set up wrong, or hostile, must not fill the memory; tried with a smaller bound."""
    monkeypatch.setattr(module, "MAX_BROKER_PACKET_BYTES", 1000)
    assert MAX_BROKER_PACKET_BYTES > 1000
    held.connection.open(held.credentials, (TOPIC,))
    held.connection.publish(TOPIC, bytes(2000), 1)
    with pytest.raises(UnreachableError, match="at most 1000 bytes"):
        held.turn_until(lambda: False)
    assert held.got == []


def test_damaged_credentials_are_told_as_such(held: Held) -> None:
    damaged = type(held.credentials)(held.credentials.ca, b"no certificate", held.credentials.key)
    with pytest.raises(PermanentError, match="as PEM"):
        held.connection.open(damaged, (TOPIC,))


def test_callback_that_fails_does_not_end_the_connection(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ValueError("boom")

    held.connection._on_message = broken
    held.connection.open(held.credentials, (TOPIC,))
    held.connection.publish(TOPIC, b"1", 1)
    held.turn_until(lambda: any("was not taken" in record.message for record in caplog.records))
    held.connection.turn(0.0)
