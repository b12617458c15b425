"""Brokers of other people: a well set up one is taken, each way of being lax is found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.broker_probe import BrokerUnderTest, UnsafeBrokerError, probe_broker
from muster_controller.adapters.identity_x509 import X509Authority, open_authority
from muster_protos.broker_names import CONTROLLER
from muster_protos.credentials import Credentials
from muster_protos.errors import UnreachableError
from muster_protos.mqtt.visit import Visit

ROOT = "muster/1/fleet-1"


@pytest.fixture
def probe(broker: MosquittoBroker, authority: X509Authority) -> Callable[[], None]:
    def probe() -> None:
        own = broker.credentials()
        under_test = BrokerUnderTest("127.0.0.1", broker.port, own.ca, own, CONTROLLER, timeout_s=1.5)
        probe_broker(under_test, authority, "fleet-1")

    return probe


@pytest.fixture
def rewrite(broker: MosquittoBroker, tmp_path: Path) -> Callable[[str, str, str], None]:
    """Change a file of the broker and start it again."""

    def rewrite(name: str, old: str, new: str) -> None:
        path = tmp_path / "broker" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        broker.kill()
        tick = threading.Event()
        while not broker.answers():
            tick.wait(0.01)

    return rewrite


def test_broker_that_keeps_devices_apart_is_taken_and_left_as_it_was(
    probe: Callable[[], None], visit: Callable[..., Visit]
) -> None:
    probe()
    with visit(CONTROLLER) as controller:
        controller.subscribe("#")
        controller.publish(f"{ROOT}/x/desired", b"the end")
        assert controller.receive(5.0) == (f"{ROOT}/x/desired", b"the end")  # nothing of the probe is retained


def test_busy_fleet_does_not_mislead_the_probe(probe: Callable[[], None], visit: Callable[..., Visit]) -> None:
    with visit("busy") as device:
        device.publish(f"{ROOT}/busy/presence", b"online", retain=True)
        device.publish(f"{ROOT}/busy/reported", b"state", retain=True)
        probe()


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("topic readwrite #", "write another's topic"),
        ("pattern write muster/1/fleet-1/+/up/#", "write another's topic"),
        ("pattern write muster/1/fleet-1/+/presence", "write another's topic"),
        ("pattern write muster/1/fleet-1/+/desired", "write another's topic"),
        ("pattern write muster/1/fleet-1/+/down/#", "write another's topic"),
        ("pattern write muster/1/fleet-1/controller/presence", "write another's topic"),
        ("pattern read muster/1/fleet-1/+/up/#", "read another's topic"),
        ("pattern read muster/1/fleet-1/+/down/#", "read another's topic"),
        ("pattern read muster/1/fleet-1/+/desired", "read another's topic"),
        ("pattern read #", "read another's topic"),
    ],
)
def test_lax_rule_is_found(
    probe: Callable[[], None], rewrite: Callable[[str, str, str], None], rule: str, complaint: str
) -> None:
    everybody = rule.replace("topic", "pattern")
    rewrite(
        "acl", "pattern read muster/1/fleet-1/%u/desired\n", f"pattern read muster/1/fleet-1/%u/desired\n{everybody}\n"
    )
    with pytest.raises(UnsafeBrokerError, match=complaint) as caught:
        probe()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lost", "complaint"),
    [
        ("pattern write muster/1/fleet-1/%u/reported\n", "may write its own reported"),
        ("pattern read muster/1/fleet-1/%u/down/#\n", "may write down/ack, and the device read it"),
        ("topic readwrite muster/1/fleet-1/#\n", "may write its own"),
    ],
)
def test_broker_that_keeps_the_fleet_out_is_told(
    probe: Callable[[], None], rewrite: Callable[[str, str, str], None], lost: str, complaint: str
) -> None:
    rewrite("acl", lost, "")
    with pytest.raises(UnsafeBrokerError, match=complaint):
        probe()


def test_free_client_ids_are_found(probe: Callable[[], None], rewrite: Callable[[str, str, str], None]) -> None:
    rewrite("mosquitto.conf", "use_username_as_clientid true", "use_username_as_clientid false")
    with pytest.raises(UnsafeBrokerError, match="client id"):
        probe()


def test_free_user_names_are_found(probe: Callable[[], None], rewrite: Callable[[str, str, str], None]) -> None:
    rewrite("mosquitto.conf", "use_identity_as_username true", "use_identity_as_username false")
    with pytest.raises(UnsafeBrokerError):
        probe()


def test_broker_that_wants_no_certificate_is_told(
    probe: Callable[[], None], rewrite: Callable[[str, str, str], None]
) -> None:
    demands = "require_certificate true\nuse_identity_as_username true\nuse_username_as_clientid true\n"
    rewrite("mosquitto.conf", demands, "")
    rewrite("mosquitto.conf", "allow_anonymous false", "allow_anonymous true")
    with pytest.raises(UnsafeBrokerError, match="demand a client certificate"):
        probe()


def test_broker_whose_own_certificate_is_of_another_ca_is_told(
    broker: MosquittoBroker, authority: X509Authority, tmp_path: Path
) -> None:
    own, foreign = broker.credentials(), open_authority(tmp_path / "foreign", "fleet-1")
    misled = Credentials(foreign.ca_pem(), own.certificate, own.key)
    under_test = BrokerUnderTest("127.0.0.1", broker.port, foreign.ca_pem(), misled, CONTROLLER, timeout_s=1.5)
    with pytest.raises(UnsafeBrokerError, match=r"--mqtt-ca$"):
        probe_broker(under_test, authority, "fleet-1")


def test_broker_that_does_not_trust_the_fleet_is_told(
    broker: MosquittoBroker, authority: X509Authority, tmp_path: Path
) -> None:
    foreign = open_authority(tmp_path / "foreign", "fleet-1")
    own = broker.credentials()
    under_test = BrokerUnderTest("127.0.0.1", broker.port, own.ca, own, CONTROLLER, timeout_s=1.5)
    with pytest.raises(UnsafeBrokerError, match=r"identity/ca\.pem"):
        probe_broker(under_test, foreign, "fleet-1")


def test_no_broker_at_all_is_told(broker: MosquittoBroker, authority: X509Authority) -> None:
    own, port = broker.credentials(), broker.port
    broker.stop()
    with pytest.raises(UnreachableError):
        probe_broker(BrokerUnderTest("127.0.0.1", port, own.ca, own, CONTROLLER, timeout_s=1.5), authority, "fleet-1")
