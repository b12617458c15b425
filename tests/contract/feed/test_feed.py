"""What every change feed must do."""

from __future__ import annotations

import pytest

from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.ports import ChangeFeed
from muster_controller.testing import MemoryChangeFeed


@pytest.fixture(params=[LocalChangeFeed, MemoryChangeFeed])
def feed(request: pytest.FixtureRequest) -> ChangeFeed:
    """A feed nobody waits for."""
    made: ChangeFeed = request.param()
    return made


def test_everybody_who_waits_for_the_topic_is_woken(feed: ChangeFeed) -> None:
    woken: list[str] = []
    feed.subscribe("device/a", lambda: woken.append("first"))
    feed.subscribe("device/a", lambda: woken.append("second"))
    feed.subscribe("device/b", lambda: woken.append("other"))
    feed.publish("device/a")
    assert woken == ["first", "second"]


def test_nobody_is_woken_after_unsubscribing_which_may_be_said_twice(feed: ChangeFeed) -> None:
    woken: list[str] = []
    stop = feed.subscribe("events", lambda: woken.append("gone"))
    feed.subscribe("events", lambda: woken.append("still here"))
    stop()
    stop()
    feed.publish("events")
    assert woken == ["still here"]


def test_a_callback_may_subscribe_publish_and_unsubscribe(feed: ChangeFeed) -> None:
    woken: list[str] = []

    def again() -> None:
        stop()
        feed.subscribe("b", lambda: woken.append("b"))
        feed.publish("b")

    stop = feed.subscribe("a", again)
    feed.publish("a")
    feed.publish("a")
    assert woken == ["b"]


def test_publishing_to_nobody_is_fine(feed: ChangeFeed) -> None:
    feed.publish("events")


def test_a_failing_subscriber_does_not_keep_the_others_asleep(caplog: pytest.LogCaptureFixture) -> None:
    feed = LocalChangeFeed()
    woken: list[str] = []

    def fail() -> None:
        raise ValueError("no")

    feed.subscribe("events", fail)
    feed.subscribe("events", lambda: woken.append("awake"))
    feed.publish("events")
    assert woken == ["awake"]
    assert "a subscriber of events failed" in caplog.text
