"""From a pasted line to a live session where nothing but the broker is reachable."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muster_agent.adapters.own_identity_folder import FolderIdentity
from muster_agent.cli.run import make_link
from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import join, make_request
from muster_agent.testing_link import RecordingLinkSink
from muster_controller.adapters.broker_mosquitto import MosquittoBroker
from muster_controller.adapters.identity_x509 import StoreAuthenticator, X509Authority, open_authority
from muster_controller.adapters.link_mqtt import MqttLink
from muster_controller.core.entities import Fleet
from muster_controller.service.broker_door import BrokerDoor
from muster_controller.service.broker_joins import BrokerAddress, BrokerJoins
from muster_controller.service.events import Events
from muster_controller.service.joining import Joining
from muster_controller.service.renewals import Renewals
from muster_controller.service.tokens import NewToken, Tokens
from muster_controller.testing import MemoryChangeFeed, MemoryStore
from muster_controller.testing_link import RecordingSink
from muster_protos.broker_door import door_name
from muster_protos.broker_join import answer_topic, ask_topic, claim_certificate, claim_name, secret_sha256
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, NotAuthorisedError, UnreachableError
from muster_protos.join_link import BrokerJoinLink, parse_any_join_link
from muster_protos.model import Inventory
from muster_protos.mqtt.visit import Visit

FLEET = "fleet-1"
ROOT = f"muster/1/{FLEET}"


EYE = "eye"  # another device
DAY_NS = 86_400 * 10**9


class RealClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class House:
    """A controller that is reached by its broker alone."""

    def __init__(self, broker: MosquittoBroker, authority: X509Authority) -> None:
        clock = RealClock()
        self.store = MemoryStore()
        fleet = Fleet(FLEET, "lab", 1, clock.now_ns())
        self.store.init_fleet(fleet)
        events = Events(self.store, MemoryChangeFeed(), clock)
        joining = Joining(self.store, authority, clock, events)
        self.joins = BrokerJoins(self.store, authority, joining, fleet)
        self.joins.advertise(BrokerAddress("127.0.0.1", broker.port))
        self.tokens = Tokens(self.store, clock, joining, self.joins)
        url = f"mqtts://127.0.0.1:{broker.port}"
        joining.advertise(("grpcs://127.0.0.1:9", url), "127.0.0.1", 9)  # nobody listens on the discard port
        self.sink = RecordingSink()
        authenticator = StoreAuthenticator(self.store, FLEET, "token")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._link = MqttLink(
            self.sink,
            authenticator,
            FLEET,
            "127.0.0.1",
            broker.port,
            broker.credentials,
            answer_join=self.joins.answer,
            answer_door=BrokerDoor(Renewals(authority, clock, joining, events)).answer,
        )

    def start(self) -> None:
        self._run(self._link.start())

    def close(self) -> None:
        self._run(self._link.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)


@pytest.fixture
def silent_house(broker: MosquittoBroker, authority: X509Authority) -> Iterator[House]:
    house = House(broker, authority)
    yield house
    house.close()


@pytest.fixture
def house(silent_house: House) -> House:
    silent_house.start()
    return silent_house


@pytest.fixture
def holder(broker: MosquittoBroker, authority: X509Authority) -> Callable[[NewToken], Visit]:
    """A visit to the broker of somebody who has a join link."""

    def holder(token: NewToken) -> Visit:
        link = parse_any_join_link(token.broker_link)
        assert isinstance(link, BrokerJoinLink)
        certificate, key = claim_certificate(link.secret, link.fleet_id, link.ends_s, link.signature)
        name = claim_name(secret_sha256(link.secret))
        return Visit("127.0.0.1", broker.port, Credentials(authority.ca_pem(), certificate, key), name, 5.0)

    return holder


def test_device_joins_and_comes_online_by_the_broker_alone(house: House, tmp_path: Path) -> None:
    folder = IdentityFolder(tmp_path / "device")
    identity = join(house.tokens.new().broker_link, folder, Inventory(cores=4), "kitchen")
    assert identity.device_id == "kitchen"
    assert [url.partition(":")[0] for url in identity.links] == ["mqtts", "grpcs"]  # what has worked comes first
    assert house.store.get_device("kitchen").inventory.cores == 4
    sink = RecordingLinkSink()
    link = make_link(identity.links[0], folder)
    link.start(sink)
    sink.wait_for(lambda: "online" in sink.calls)
    link.close()


def test_same_device_joins_twice_and_other_links_are_refused(house: House, tmp_path: Path) -> None:
    folder = IdentityFolder(tmp_path / "device")
    used = house.tokens.new().broker_link
    assert join(used, folder, Inventory(), "kitchen").device_id == "kitchen"
    assert join(house.tokens.new().broker_link, folder, Inventory(), "kitchen").device_id == "kitchen"
    with pytest.raises(NotAuthorisedError, match="used up"):
        join(used, folder, Inventory(), "kitchen")
    revoked = house.tokens.new()
    house.tokens.revoke(revoked.token.token_id)
    with pytest.raises(NotAuthorisedError, match="revoked"):
        join(revoked.broker_link, IdentityFolder(tmp_path / "other"), Inventory())
    assert not (tmp_path / "other" / "join.json").exists()


def test_expired_link_is_refused_by_the_broker_itself(
    house: House, broker: MosquittoBroker, authority: X509Authority, tmp_path: Path
) -> None:
    made = house.tokens.new()
    link = parse_any_join_link(made.broker_link)
    assert isinstance(link, BrokerJoinLink)
    expired = replace(link, ends_s=1_000_000_000, signature=authority.sign_claim(link.secret, 1_000_000_000))
    with pytest.raises(NotAuthorisedError, match="refuses this certificate"):
        join(expired.text(), IdentityFolder(tmp_path / "device"), Inventory())


def test_link_of_another_ca_is_refused(house: House, broker: MosquittoBroker, tmp_path: Path) -> None:
    foreign = open_authority(tmp_path / "foreign", FLEET)
    link = parse_any_join_link(house.tokens.new().broker_link)
    assert isinstance(link, BrokerJoinLink)
    forged = replace(link, signature=foreign.sign_claim(link.secret, link.ends_s))
    with pytest.raises(NotAuthorisedError, match="refuses this certificate"):
        join(forged.text(), IdentityFolder(tmp_path / "device"), Inventory())


def test_ca_that_is_not_the_links_is_refused_before_anything_is_asked(house: House, tmp_path: Path) -> None:
    made = house.tokens.new()
    link = parse_any_join_link(made.broker_link)
    assert isinstance(link, BrokerJoinLink)
    with pytest.raises(NotAuthorisedError, match="expected the fleet CA"):
        join(replace(link, ca_fingerprint="0" * 64).text(), IdentityFolder(tmp_path / "device"), Inventory())
    assert house.store.list_tokens()[-1].uses_left == 1


def test_holders_of_one_line_take_turns(house: House, tmp_path: Path) -> None:
    line = house.tokens.new(uses=6).broker_link

    def enter(number: int) -> str:
        return join(line, IdentityFolder(tmp_path / str(number)), Inventory(), "device").device_id

    with ThreadPoolExecutor(6) as pool:
        names = set(pool.map(enter, range(6)))
    assert names == {"device", *(f"device-{number}" for number in range(2, 7))}
    assert house.store.list_tokens()[-1].uses_left == 0


def test_without_a_controller_the_device_is_told(silent_house: House, tmp_path: Path) -> None:
    line = silent_house.tokens.new().broker_link
    with pytest.raises(UnreachableError, match="is muster up running"):
        join(line, IdentityFolder(tmp_path / "device"), Inventory(), timeout_s=0.05)


def test_holder_sees_and_says_nothing_but_his_own(
    house: House, holder: Callable[[NewToken], Visit], visit: Callable[..., Visit]
) -> None:
    mine, others = house.tokens.new(), house.tokens.new()
    name = claim_name(secret_sha256(mine.secret))
    other = claim_name(secret_sha256(others.secret))
    with holder(mine) as me, holder(others) as another, visit("device") as device:
        me.subscribe("#", f"{ROOT}/#", f"{ROOT}/+/up/join", answer_topic(FLEET, other))
        device.subscribe(f"{ROOT}/device/down/#")
        another.publish(ask_topic(FLEET, other), b"not for me")
        device.publish(f"{ROOT}/device/up/report", b"not for me")
        for topic in (answer_topic(FLEET, other), f"{ROOT}/device/down/ack", f"{ROOT}/device/up/report"):
            me.publish(topic, b"forged")
        me.publish(f"{ROOT}/{name}/up/hello", b"I am no device")
        found = me.receive(0.5)
        assert found is None or found[0] == f"{ROOT}/controller/presence"
        assert device.receive(0.0) is None
    assert house.sink.opened == []


def test_certificate_of_a_holder_is_worth_nothing_to_grpc(house: House, authority: X509Authority) -> None:
    made = house.tokens.new()
    link = parse_any_join_link(made.broker_link)
    assert isinstance(link, BrokerJoinLink)
    certificate, _ = claim_certificate(link.secret, link.fleet_id, link.ends_s, link.signature)
    with pytest.raises(MusterError):
        StoreAuthenticator(house.store, FLEET, "token").authenticate_certificate(certificate)


@pytest.fixture
def away(house: House, tmp_path: Path) -> Callable[[str, int], IdentityFolder]:
    """A device that joined over the broker and was away until its certificate had run out ``days`` ago."""

    def away(name: str, days: int) -> IdentityFolder:
        folder = IdentityFolder(tmp_path / name)
        identity = join(house.tokens.new().broker_link, folder, Inventory(), name)
        past = open_authority(tmp_path / "identity", FLEET, now_ns=lambda: time.time_ns() - (7 + days) * DAY_NS)
        expired, _, _ = past.issue_device_certificate(make_request(folder.key_path), name)
        folder.write(replace(identity, certificate_pem=expired))
        return folder

    return away


def _identity(folder: IdentityFolder) -> FolderIdentity:
    return FolderIdentity(folder, lambda _envelope, _key: None)


def test_certificate_that_ran_out_is_renewed_over_the_broker_alone(
    house: House, away: Callable[[str, int], IdentityFolder], visit: Callable[..., Visit]
) -> None:
    folder = away("kitchen", 20)
    identity = folder.read()
    assert identity is not None
    assert identity.door_url == ""
    expired = Credentials(identity.ca_pem, identity.certificate_pem, folder.read_key())
    with pytest.raises(NotAuthorisedError, match="refuses this certificate"), visit("kitchen", expired):
        pass
    own, told = _identity(folder), []
    life = own.keep(own.renew_at_door(told.append))
    assert life.ends_ns > time.time_ns()
    assert abs(told[0] - time.time_ns()) < 60 * 10**9
    renewed = folder.read()
    assert renewed is not None
    assert renewed.door_certificate_pem not in (b"", identity.door_certificate_pem)
    sink = RecordingLinkSink()
    link = make_link(identity.links[0], folder)
    link.start(sink)
    sink.wait_for(lambda: "online" in sink.calls)
    link.close()


def test_door_of_the_broker_has_the_rules_of_the_other_door(
    house: House, away: Callable[[str, int], IdentityFolder]
) -> None:
    late = away("late", 100)
    with pytest.raises(NotAuthorisedError, match="90 days of grace"):
        _identity(late).renew_at_door(lambda _: None)
    gone = away("gone", 1)
    house.store.revoke_device("gone")
    with pytest.raises(
        NotAuthorisedError, match=r"removed from the fleet.*cannot prove it"
    ):  # a claim, no end for good
        _identity(gone).renew_at_door(lambda _: None)
    thief, victim = away("thief", 1), away("victim", 1).read()
    own = thief.read()
    assert own is not None
    assert victim is not None
    thief.write(replace(own, certificate_pem=victim.certificate_pem))
    with pytest.raises(NotAuthorisedError):
        _identity(thief).renew_at_door(lambda _: None)


def test_removed_device_is_let_in_at_the_broker_by_no_certificate(
    house: House,
    broker: MosquittoBroker,
    away: Callable[[str, int], IdentityFolder],
    visit: Callable[..., Visit],
) -> None:
    folder = away("kitchen", 1)
    identity = folder.read()
    assert identity is not None
    door = Credentials(identity.ca_pem, identity.door_certificate_pem, folder.read_key())
    own, root = door_name("kitchen"), f"{ROOT}/{door_name('kitchen')}"
    with visit(EYE) as eye, visit(own, door) as holder:
        eye.subscribe(f"{root}/up/door")
        broker.revoke("kitchen")
        with contextlib.suppress(MusterError):
            holder.publish(f"{root}/up/door", b"still here")
        assert eye.receive(0.5) is None
    with pytest.raises(NotAuthorisedError, match="refuses this certificate"), visit(own, door):
        pass


def test_door_certificate_is_worth_nothing_else(
    house: House, away: Callable[[str, int], IdentityFolder], visit: Callable[..., Visit]
) -> None:
    folder = away("kitchen", 1)
    identity = folder.read()
    assert identity is not None
    door = Credentials(identity.ca_pem, identity.door_certificate_pem, folder.read_key())
    with pytest.raises(MusterError):
        StoreAuthenticator(house.store, FLEET, "token").authenticate_certificate(identity.door_certificate_pem)
    with visit(EYE) as eye, visit("kitchen", door) as holder:
        eye.subscribe(f"{ROOT}/{EYE}/down/#")
        for topic in (f"{ROOT}/kitchen/up/report", f"{ROOT}/{EYE}/down/ack", f"{ROOT}/kitchen/presence"):
            holder.publish(topic, b"forged")
        assert eye.receive(0.5) is None
    assert house.sink.opened == []
