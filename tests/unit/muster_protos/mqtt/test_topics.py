"""Topics say who a device is, so nothing but a device's own topic may pass for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_protos.errors import InvalidInputError
from muster_protos.mqtt.topics import (
    PRESENCE,
    REPORTED,
    DeviceTopics,
    Down,
    FromDevice,
    Up,
    check_device_id,
    controller_presence,
    controller_subscriptions,
    parse_from_device,
)

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(lambda text: text != "controller")


@given(IDS, IDS)
def test_every_topic_that_a_device_writes_is_read_back(fleet_id: str, device_id: str) -> None:
    topics = DeviceTopics(fleet_id, device_id)
    for kind in Up:
        assert parse_from_device(topics.up(kind), fleet_id) == FromDevice(device_id, kind)
    assert parse_from_device(topics.presence, fleet_id) == FromDevice(device_id, PRESENCE)
    assert parse_from_device(topics.reported, fleet_id) == FromDevice(device_id, REPORTED)


@given(IDS, IDS)
def test_topics_that_the_controller_writes_are_no_devices(fleet_id: str, device_id: str) -> None:
    topics = DeviceTopics(fleet_id, device_id)
    for topic in (topics.desired, *(topics.down(kind) for kind in Down), controller_presence(fleet_id)):
        with pytest.raises(InvalidInputError):
            parse_from_device(topic, fleet_id)


@given(st.text(max_size=300))
def test_any_text_is_a_topic_of_a_device_or_refused(text: str) -> None:
    for topic in (text, f"muster/1/lab/{text}", f"muster/1/lab/{text}/up/report", f"muster/1/lab/pi-1/{text}"):
        try:
            found = parse_from_device(topic, "lab")
        except InvalidInputError:
            continue
        assert topic.startswith(f"muster/1/lab/{check_device_id(found.device_id)}/")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "muster/1/lab",
        "muster/1/lab/",
        "muster/1/lab/pi-1",
        "muster/1/lab/pi-1/",
        "muster/1/lab/pi-1/up",
        "muster/1/lab/pi-1/up/",
        "muster/1/lab/pi-1/up/reports",
        "muster/1/lab/pi-1/up/report/",
        "muster/1/lab/pi-1/up/report/more",
        "muster/1/lab/+/up/report",
        "muster/1/lab/#",
        "muster/1/lab//up/report",
        "muster/1/lab/pi 1/up/report",
        "muster/1/lab/pi-1\x00/up/report",
        "muster/1/lab/controller/presence",
        "muster/1/labs/pi-1/up/report",
        "muster/2/lab/pi-1/up/report",
        "/muster/1/lab/pi-1/up/report",
        "muster/1/lab/" + "a" * 65 + "/up/report",
        "muster/1/lab/pi-1/up/" + "a" * 65_000,
    ],
)
def test_what_is_not_exactly_a_devices_topic_is_refused(topic: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_from_device(topic, "lab")


@pytest.mark.parametrize("device_id", ["controller", "", "+", "#", "a/b", "_controller", "ü", "a" * 65])
def test_topics_of_what_is_no_device_id_cannot_be_made(device_id: str) -> None:
    with pytest.raises(InvalidInputError):
        DeviceTopics("lab", device_id)


def test_controller_listens_to_everything_that_devices_write_and_to_nothing_else() -> None:
    topics = DeviceTopics("lab", "pi-1")
    patterns = controller_subscriptions("lab")
    for topic in (topics.presence, topics.reported, *(topics.up(kind) for kind in Up)):
        assert any(matches(pattern, topic) for pattern in patterns)
    for topic in (topics.desired, *(topics.down(kind) for kind in Down)):
        assert not any(matches(pattern, topic) for pattern in patterns)


def test_device_listens_to_its_own_topics_and_the_controllers_presence() -> None:
    subscriptions = DeviceTopics("lab", "pi-1").subscriptions()
    assert subscriptions[-1] == controller_presence("lab")
    assert all(topic.startswith("muster/1/lab/pi-1/") for topic in subscriptions[:-1])


def matches(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1, 4.7.1, for the ``+`` wildcard."""
    wanted, found = pattern.split("/"), topic.split("/")
    return len(wanted) == len(found) and all(w in ("+", f) for w, f in zip(wanted, found, strict=True))
