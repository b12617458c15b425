"""The MQTT link in packets of MQTT 3.1.1 (http://docs.oasis-open.org/mqtt/mqtt/v3.1.1), as docs/mqtt.md tells it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from typing import Any

from muster_protos import codec
from muster_protos.limits import MAX_UNTAKEN_BYTES, MAX_UNTAKEN_MESSAGES
from muster_protos.model import Greeting, LinkPresence, UpMessage
from muster_protos.mqtt.topics import LOSSY, DeviceTopics, Up, controller_presence
from muster_protos.v1 import link_pb2
from simulated.wire import ANSWER_S, Ear, Message, Wire, parse

_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _PINGREQ = 1, 3, 4, 8, 12
_KEEPALIVE_S = 15
_FRESH_S = 1.0  # as the agent: a controller that was there before us is greeted at once ...
_STABLE_S = 10.0
_SPREAD_S = 1.0  # ... one that comes is seen by the whole fleet, which takes this long to greet it


class MqttWire(Wire):
    """A session begins with the controller's welcome and ends with its presence, a goodbye or the connection."""

    def __init__(self, ear: Ear, topics: DeviceTopics, run_id: str) -> None:
        super().__init__(ear)
        self._topics = topics
        self._run_id = run_id
        self._connection_id = secrets.token_hex(8)
        self._packets = bytearray()
        self._packet_id = 0
        self._controller_id = ""
        self._session_id = ""
        self._sequence = 0
        self._unsent: deque[tuple[bytes, str]] = deque()
        self._untaken: deque[tuple[int, int]] = deque()  # (sequence, bytes)
        self._untaken_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._opened_s = self._loop.time()
        self._timers: list[asyncio.TimerHandle] = []  # the next ping, and what is due in the session
        self._desired = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        will = codec.encode(LinkPresence(self._connection_id))
        name = self._topics.device_id.encode()
        flags = 0x80 | 0x20 | 0x08 | 0x04 | 0x02  # user name, will retained with QoS 1, clean session
        body = _string(b"MQTT") + bytes([4, flags]) + _KEEPALIVE_S.to_bytes(2, "big") + _string(name)
        self._write(_CONNECT << 4, body + _string(self._topics.presence.encode()) + _string(will) + _string(name))
        self._timers.append(self._loop.call_later(_KEEPALIVE_S * 0.7, self._ping))

    def connection_lost(self, error: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(error)

    def say(self, message: bytes, kind: str) -> None:
        self._unsent.append((message, kind))
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._packets += data
        while (found := _take_packet(self._packets)) is not None:
            head, body = found
            match head >> 4:
                case 2:
                    self._take_connack(body)
                case 3:
                    self._take_publish(head, body)
                case 9:
                    online = codec.encode(LinkPresence(self._connection_id, is_online=True))
                    self._publish(self._topics.presence, online, is_retained=True)
                case _:
                    pass

    def _take_connack(self, body: bytes) -> None:
        if body[1]:
            self._end(f"the broker refused with {body[1]}")
            self.hang_up()
            return
        wanted = b"".join(_string(topic.encode()) + b"\x01" for topic in self._topics.subscriptions())
        self._write(_SUBSCRIBE << 4 | 2, self._next_id() + wanted)

    def _take_publish(self, head: int, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if head & 0x06:
            self._write(_PUBACK << 4, rest[:2])
            rest = rest[2:]
        if topic == controller_presence(self._topics.fleet_id):
            self._see_controller(codec.decode(LinkPresence, rest))
        elif topic == self._topics.desired:
            self._desired = rest
            self._hand_over_desired()
        else:
            self._take_down(link_pb2.DownMessage.FromString(rest))

    def _see_controller(self, presence: LinkPresence) -> None:
        if presence.is_online and presence.connection_id != self._controller_id:
            is_fresh = not self._controller_id and self._loop.time() - self._begun_s < _FRESH_S
            self._close()
            self._controller_id = presence.connection_id
            delay_s = 0.0 if is_fresh else _SPREAD_S * random.random()
            self._greet_in(delay_s)
        elif not presence.is_online and presence.connection_id == self._controller_id:
            self._controller_id = ""
            self._close()

    def _greet_in(self, delay_s: float) -> None:
        for timer in self._timers[1:]:
            timer.cancel()
        self._timers[1:] = [self._loop.call_later(delay_s, self._greet, self._controller_id)]

    def _greet(self, controller_id: str) -> None:
        if controller_id != self._controller_id:
            return
        self._session_id = secrets.token_hex(8)
        self._sequence = self._untaken_bytes = 0
        self._unsent.clear()
        self._untaken.clear()
        greeting = Greeting(self._connection_id, controller_id, self._run_id)
        self._publish(self._topics.up(Up.GREETING), codec.encode(UpMessage(self._session_id, body=greeting)))
        self._timers[1:] = [self._loop.call_later(ANSWER_S, self._give_up)]

    def _close(self) -> None:
        super()._close()
        self._session_id = ""

    def _hear(self, message: Message) -> None:
        """After a goodbye to a session that lasted the connection stays, as the agent's does."""
        is_goodbye = message.WhichOneof("body") == "goodbye"
        if is_goodbye and self._is_open and self._loop.time() - self._opened_s > _STABLE_S:
            self._close()
            self._greet_in(message.goodbye.retry_after_ms / 1e3 + _SPREAD_S * random.random())
        else:
            super()._hear(message)

    def _take_down(self, down: Any) -> None:
        if not self._session_id or down.session_id != self._session_id:
            return
        while self._untaken and self._untaken[0][0] <= down.taken_sequence:
            self._untaken_bytes -= self._untaken.popleft()[1]
        match down.WhichOneof("body"):
            case "welcome":
                self._opened_s = self._loop.time()
                for timer in self._timers[1:]:
                    timer.cancel()
                self._open()
                self._hand_over_desired()
            case "controller_message":
                self._hear(down.controller_message)
            case _:
                pass
        self._flush()

    def _hand_over_desired(self) -> None:
        if self._is_open and self._desired:
            payload, self._desired = self._desired, b""
            self._hear(parse(payload))

    def _flush(self) -> None:
        """As much as the controller lets an agent send ahead."""
        while self._is_open and self._unsent and not self.ended.done():
            if len(self._untaken) >= MAX_UNTAKEN_MESSAGES or self._untaken_bytes >= MAX_UNTAKEN_BYTES:
                return
            message, kind = self._unsent.popleft()
            up = None if kind == "reported_state" else Up(kind)
            wire = link_pb2.UpMessage(session_id=self._session_id)
            if up not in LOSSY:
                self._sequence += 1
                wire.sequence = self._sequence
                self._untaken.append((self._sequence, len(message)))
                self._untaken_bytes += len(message)
            wire.agent_message.ParseFromString(message)
            topic = self._topics.reported if up is None else self._topics.up(up)
            self._publish(topic, wire.SerializeToString(), is_retained=up is None, qos=0 if up in LOSSY else 1)

    def _publish(self, topic: str, payload: bytes, is_retained: bool = False, qos: int = 1) -> None:
        packet_id = self._next_id() if qos else b""
        self._write(_PUBLISH << 4 | qos << 1 | is_retained, _string(topic.encode()) + packet_id + payload)

    def _ping(self) -> None:
        self._write(_PINGREQ << 4, b"")
        self._timers[:1] = [self._loop.call_later(_KEEPALIVE_S * 0.7, self._ping)]

    def _write(self, head: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(bytes([head]) + _length(len(body)) + body)

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id.to_bytes(2, "big")


def _take_packet(buffer: bytearray) -> tuple[int, bytes] | None:
    """(first byte, body) of the first whole packet, which is removed; None when there is none yet."""
    size = shift = 0
    for place in range(1, min(len(buffer), 5)):
        size |= (buffer[place] & 0x7F) << shift
        shift += 7
        if buffer[place] < 0x80:
            end = place + 1 + size
            if len(buffer) < end:
                return None
            head, body = buffer[0], bytes(buffer[place + 1 : end])
            del buffer[:end]
            return head, body
    return None


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _length(size: int) -> bytes:
    found = bytearray()
    while True:
        size, digit = divmod(size, 128)
        found.append(digit | 0x80 if size else digit)
        if not size:
            return bytes(found)
