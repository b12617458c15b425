from __future__ import annotations

from muster_controller.adapters.link_mqtt.outgoing import Outgoing, Packet


def test_answers_that_nobody_takes_are_dropped_and_what_must_go_out_is_not() -> None:
    outgoing = Outgoing(lambda: None)
    for _ in range(10_050):
        outgoing.post(Packet("answer", b""))
    done: list[str] = []
    outgoing.post(Packet("desired", b"", is_retained=True))
    outgoing.post(Packet("block", b"", on_done=lambda: done.append("block")))
    sent = []
    while packets := outgoing.next_packets():
        sent += [packet.topic for packet in packets]
    assert (len(sent), sent[-2:]) == (10_002, ["desired", "block"])
    outgoing.post(Packet("block", b"", on_done=lambda: done.append("given up")))
    outgoing.clear()
    assert done == ["given up"]
