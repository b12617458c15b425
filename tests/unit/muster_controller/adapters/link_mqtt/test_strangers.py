from __future__ import annotations

import queue
import threading

from muster_controller.adapters.link_mqtt.drops import Drops
from muster_controller.adapters.link_mqtt.outgoing import Packet
from muster_controller.adapters.link_mqtt.strangers import Strangers, desks
from muster_protos.broker_join import answer_topic, ask_topic

NAME = "_join-0a"


def test_strangers_wait_for_each_other_alone_and_in_bounded_number() -> None:
    may_go, begun, ended = threading.Event(), threading.Semaphore(0), queue.SimpleQueue[Packet]()

    def answer(_name: str, payload: bytes) -> bytes:
        begun.release()
        assert may_go.wait(10)
        return payload

    drops = Drops()
    strangers = Strangers("lab", desks(answer, None), ended.put, drops)
    for number in range(80):
        assert strangers.take(ask_topic("lab", NAME), b"%d" % number)  # never blocks
    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    assert not begun.acquire(blocking=False)  # two at a time
    assert drops.count == 16
    may_go.set()
    answered = [ended.get(timeout=10) for _ in range(64)]
    assert {packet.topic for packet in answered} == {answer_topic("lab", NAME)}
    assert sorted(int(packet.payload) for packet in answered) == list(range(64))
    strangers.close()
    assert strangers.take(ask_topic("lab", NAME), b"too late")


def test_huge_ask_is_dropped_before_it_waits() -> None:
    drops = Drops()
    strangers = Strangers("lab", desks(lambda _name, payload: payload, None), lambda _packet: None, drops)
    assert strangers.take(ask_topic("lab", NAME), bytes(256 * 1024 + 1))
    assert drops.count == 1
    assert not strangers.take("muster/1/lab/pi/up/report", b"")
    strangers.close()
