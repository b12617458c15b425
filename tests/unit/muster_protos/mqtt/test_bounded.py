"""A packet that is larger than any of ours is not taken from whoever is at the other end."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from muster_protos.limits import MAX_BROKER_PACKET_BYTES
from muster_protos.mqtt.bounded import BoundedPaho

CONNACK = bytes.fromhex("20020000")


def length_of(size: int) -> bytes:
    """MQTT 3.1.1, 2.2.3."""
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)


def heard_from_a_peer_that_says(packet: bytes) -> tuple[MQTTErrorCode, list[bytes]]:
    """(why reading ended, payloads that were taken)."""
    taken: list[bytes] = []

    def keep(_peer: object, _data: object, message: MQTTMessage) -> None:
        taken.append(message.payload)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            stream, _ = listening.accept()
            with stream, contextlib.suppress(OSError):  # the other end may leave first
                stream.recv(1024)
                stream.sendall(CONNACK + packet)
                stream.shutdown(socket.SHUT_WR)
                stream.recv(1024)

        thread = threading.Thread(target=answer)
        thread.start()
        peer = BoundedPaho(CallbackAPIVersion.VERSION2, client_id="a")
        peer.on_message = keep
        peer.connect(*listening.getsockname())
        found = peer.socket()
        assert found is not None
        found.setblocking(True)
        while (code := peer.loop_read()) is MQTTErrorCode.MQTT_ERR_SUCCESS:
            pass
        found.close()
        thread.join()
    return code, taken


def test_what_fits_is_taken() -> None:
    _, taken = heard_from_a_peer_that_says(b"\x30" + length_of(6) + b"\x00\x01tabc")
    assert taken == [b"abc"]


@pytest.mark.parametrize("size", [MAX_BROKER_PACKET_BYTES + 1, 256 * 1024 * 1024 - 1])
def test_a_larger_packet_ends_the_connection_and_nothing_of_it_is_taken(size: int) -> None:
    code, taken = heard_from_a_peer_that_says(b"\x30" + length_of(size) + b"\x00\x01t" + b"x" * 1000)
    assert code is not MQTTErrorCode.MQTT_ERR_SUCCESS
    assert taken == []
