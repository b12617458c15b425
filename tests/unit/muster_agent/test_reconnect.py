"""What a link does after it was told that its device was removed."""

from __future__ import annotations

import threading

import pytest

from muster_agent.reconnect import End, Reconnect, pause_s
from muster_agent.redial import Redial
from muster_agent.testing_link import RecordingLinkSink
from muster_protos.model import Goodbye

REMOVED = End("removed", Goodbye("removed", is_revoked=True))


def dialling(reconnect):
    """(its thread, a semaphore that counts its dials)"""
    dials = threading.Semaphore(0)

    def hold_session(_):
        dials.release()
        return REMOVED

    thread = threading.Thread(target=reconnect.run, args=(hold_session, RecordingLinkSink()), daemon=True)
    thread.start()
    return thread, dials


def test_where_the_controller_itself_says_so_it_never_dials_again():
    thread, dials = dialling(Reconnect("there", Redial(0.001, 0.001, lambda: 0.0)))
    thread.join(10)
    assert not thread.is_alive()
    assert dials.acquire(blocking=False)
    assert not dials.acquire(blocking=False)


def test_where_nobody_can_prove_it_the_link_rests_and_comes_back_when_there_is_news():
    reconnect = Reconnect("there", Redial(0.001, 0.001, lambda: 0.0), rest_s=3600.0)
    thread, dials = dialling(reconnect)
    assert dials.acquire(timeout=10)
    assert not dials.acquire(timeout=0.2), "it must rest"
    reconnect.hurry()
    assert dials.acquire(timeout=10)
    reconnect.close()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(("asked_ms", "expected_s"), [(0, 0.0), (1500, 1.5), (-(2**63), 0.0), (2**63 - 1, 600.0)])
def test_nobody_keeps_a_link_away_for_long_with_one_word(asked_ms, expected_s):
    assert pause_s(Goodbye("later", retry_after_ms=asked_ms)) == expected_s
