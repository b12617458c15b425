"""A device's identity over its life, on real sockets: renewed in time, after weeks away, never by a stranger."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.link_grpc import GrpcLink, LinkTiming
from muster_agent.adapters.link_mqtt import LinkTiming as MqttTiming
from muster_agent.adapters.link_mqtt import MqttLink
from muster_agent.adapters.own_identity_folder import FolderIdentity
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.adapters.verifier_child import VerifierChild
from muster_agent.certificate import read_life
from muster_agent.core.renewal import DOUBT_S, URGENT_AT
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.daemon.runner import InlineRunner
from muster_agent.https import RemovedError
from muster_agent.identity_folder import IdentityFolder
from muster_agent.join import join, make_request
from muster_agent.ports import Link
from muster_agent.renew_https import HttpsRenewal
from muster_agent.testing import FakeLoad, FakeMeasurer, FakeSensors, FakeServed
from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.adapters.feed_local import LocalChangeFeed
from muster_controller.adapters.identity_x509 import StoreAuthenticator, open_authority
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.adapters.link_grpc import GrpcLink as ControllerGrpcLink
from muster_controller.adapters.store_sqlalchemy import open_store
from muster_controller.cli.broker import FleetBroker, MqttOptions
from muster_controller.service.context import Context
from muster_controller.service.fleet import ensure_fleet
from muster_controller.service.service import Service
from muster_controller.testing_service import StubWorkshop
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, NotAuthorisedError
from muster_protos.model import Inventory, SignedEnvelope, SigningKey

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
QUICK = LinkTiming(connect_timeout_s=5.0, retry_base_s=0.02, retry_cap_s=0.05)
QUICK_MQTT = MqttTiming(connect_timeout_s=5.0, retry_base_s=0.02, retry_cap_s=0.05)


class ShiftedClock:
    """Real time, moved; TLS itself judges by the real one, so certificates are made to fit it."""

    def __init__(self, shift_s: float = 0.0) -> None:
        self.shift_s = shift_s
        self.is_told = False
        self._told: tuple[int, int] = (0, 0)

    def learn(self, wall_ns: int) -> None:
        self._told = (wall_ns, time.monotonic_ns())
        self.is_told = True

    def now_ns(self) -> int:
        if self.is_told:
            return self._told[0] + time.monotonic_ns() - self._told[1]
        return time.time_ns() + int(self.shift_s * 1e9)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + int(self.shift_s * 1e9)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class House:
    """A whole service behind its real endpoints, whose clock a test moves."""

    def __init__(self, folder: Path, link: str = "grpc") -> None:
        self.clock = ShiftedClock()
        self.store = open_store(folder / "fleet.sqlite3")
        fleet = ensure_fleet(self.store, self.clock, "lab")
        self.authority = open_authority(folder / "identity", fleet.fleet_id, self.clock.now_ns)
        context = Context(
            self.store,
            FolderArtifactStore(folder / "artifacts"),
            LocalChangeFeed(),
            self.authority,
            self.clock,
            StubWorkshop(),
            folder,
        )
        self.service = Service(context)
        self.service.start()
        authenticator = StoreAuthenticator(self.store, fleet.fleet_id, "admin-secret")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._link: ControllerGrpcLink | FleetBroker
        if link == "grpc":
            self._link = ControllerGrpcLink(self.service.sessions, self.authority, authenticator, port=0)
            url = f"grpcs://127.0.0.1:{self.run(self._link.start())}"
        else:
            options, host = MqttOptions("own", 0), "127.0.0.1"
            self._link = FleetBroker(
                options, folder / "broker", self.service, self.authority, authenticator, host, host
            )
            self.run(self._link.start())
            url = self._link.url
        self._endpoint = JoinEndpoint(self.service.sessions.join, self.authority, port=0, door=self.service.renewals)
        join_port = self.run(self._endpoint.start())
        self.service.joining.advertise((url,), "127.0.0.1", join_port)
        self.door = f"https://127.0.0.1:{join_port}"

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def joined(self, folder: Path, days_ago: float = 0.0) -> IdentityFolder:
        """A device that joined ``days_ago``: its certificate is that old."""
        identities = IdentityFolder(folder / "identity")
        self.clock.shift_s -= days_ago * DAY_S
        join(self.service.tokens.new().link, identities, Inventory(), "pi-1")
        self.clock.shift_s += days_ago * DAY_S
        return identities

    def kinds(self) -> list[str]:
        return [event.kind for event in self.service.events.list()]

    def close(self) -> None:
        self.run(self._link.stop())
        self.run(self._endpoint.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.service.close()
        self.store.close()


class Device:
    """A real daemon over a real link; serving and measuring are fakes."""

    def __init__(self, folder: Path, identities: IdentityFolder, clock_shift_s: float = 0.0) -> None:
        identity = identities.read()
        assert identity is not None
        self.identities = identities
        self.clock = ShiftedClock(clock_shift_s)
        self.boot_id = f"boot-of-{folder.name}"
        self.link: Link
        if identity.links[0].startswith("grpcs:"):
            self.link = GrpcLink(identity.links[0], self._credentials, QUICK)
        else:
            self.link = MqttLink(
                identity.links[0], identity.fleet_id, identity.device_id, self._credentials, QUICK_MQTT
            )
        self.dialled_with: list[bytes] = []
        self.state = SqliteState(folder / "agent.sqlite3")
        self.served = FakeServed()
        parts = Parts(
            state=self.state,
            cache=FolderCache(folder),
            verifier=VerifierChild(lambda: (identities.read() or identity).trust.in_force(self.clock.now_ns())),
            link=self.link,
            clock=self.clock,
            measurer=FakeMeasurer(),
            served=self.served,
            load=FakeLoad(),
            sensors=FakeSensors(),
            inventory=lambda: Inventory(clock_ns=time.time_ns() + int(clock_shift_s * 1e9), boot_id=self.boot_id),
            identity=FolderIdentity(identities, _check),
        )
        self.daemon = Daemon(parts, Settings(identity.device_id, identity.fleet_id, "boot"), InlineRunner())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.daemon.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def certificate(self) -> bytes:
        identity = self.identities.read()
        assert identity is not None
        return identity.certificate_pem

    def close(self) -> None:
        self._stop.set()
        self.daemon.inbox.wake.set()
        self._thread.join(20)
        self.state.close()

    def _credentials(self) -> Credentials:
        identity = self.identities.read()
        assert identity is not None
        self.dialled_with.append(identity.certificate_pem)
        return Credentials(identity.ca_pem, identity.certificate_pem, self.identities.read_key())


def _check(envelope: SignedEnvelope, key: SigningKey) -> None:
    VerifierChild(lambda: (key,)).verify((envelope,))


def until(is_true: Callable[[], bool], what: str = "it", timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s:g} s"
        threading.Event().wait(0.02)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    folder = tmp_path / "controller"
    folder.mkdir()
    made = House(folder)
    yield made
    made.close()


@pytest.fixture(params=["grpc", "mqtt"])
def either_house(tmp_path: Path, request: pytest.FixtureRequest, mosquitto: str) -> Iterator[House]:
    """Over each link in turn; what holds for one must hold for the other."""
    assert mosquitto
    folder = tmp_path / "controller"
    folder.mkdir()
    made = House(folder, request.param)
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    devices: list[Device] = []

    def make(identities: IdentityFolder, clock_shift_s: float = 0.0) -> Device:
        folder = tmp_path / f"state-{len(devices)}"
        folder.mkdir()
        devices.append(Device(folder, identities, clock_shift_s))
        return devices[-1]

    yield make
    for device in devices:
        device.close()


# ---- in time ----


def test_a_certificate_past_two_thirds_is_renewed_and_used_and_nothing_is_lost(
    either_house: House, tmp_path: Path, start: Callable[..., Device]
) -> None:
    house = either_house
    identities = house.joined(tmp_path, days_ago=7 * URGENT_AT)
    device = start(identities)
    old = device.certificate()
    until(lambda: device.certificate() != old, "a renewal")
    until(lambda: device.dialled_with[-1] == device.certificate(), "a session with the new certificate")
    assert read_life(device.certificate()).ends_ns > read_life(old).ends_ns
    until(lambda: "identity.renewed" in house.kinds(), "the event")
    until(lambda: not device.state.reports(0, 10), "every acknowledgement")
    assert house.kinds().count("identity.renewed") == 1
    house_sees = StoreAuthenticator(house.store, house.service.fleets.fleet.fleet_id, "x")
    assert house_sees.authenticate_certificate(old).principal_id == "pi-1"  # until its own end


def test_a_young_certificate_stays(house: House, tmp_path: Path, start: Callable[..., Device]) -> None:
    device = start(house.joined(tmp_path, days_ago=1))
    old = device.certificate()
    until(lambda: house.service.live.count() == 1, "a session")
    until(lambda: device.clock.is_told, "the time")
    for _ in range(3):
        device.daemon.inbox.wake.set()
        threading.Event().wait(0.05)
    assert device.certificate() == old


# ---- after weeks, and with absurd clocks ----


@pytest.mark.parametrize("clock_shift_s", [0.0, 10 * YEAR_S])
def test_a_device_that_was_away_for_weeks_renews_at_the_door_and_comes_back(
    either_house: House, tmp_path: Path, start: Callable[..., Device], clock_shift_s: float
) -> None:
    house = either_house
    device = start(house.joined(tmp_path, days_ago=60), clock_shift_s)
    until(lambda: house.service.live.count() == 1, "a session")
    assert read_life(device.certificate()).ends_ns > time.time_ns()
    until(lambda: "identity.renewed" in house.kinds(), "the event")


@pytest.mark.parametrize("clock_shift_s", [-time.time() + 10.0, 10 * YEAR_S, -DAY_S], ids=["1970", "ahead", "behind"])
def test_a_device_whose_clock_is_absurd_joins_connects_verifies_and_is_told_the_time(
    house: House, tmp_path: Path, start: Callable[..., Device], clock_shift_s: float
) -> None:
    device = start(house.joined(tmp_path), clock_shift_s)
    until(lambda: house.service.live.count() == 1, "a session")
    house.service.desired.refresh("pi-1")
    until(lambda: device.daemon.reported().desired_version == 1, "a verified desired state")
    assert abs(device.clock.now_ns() - time.time_ns()) < 5e9
    assert house.store.get_device("pi-1").clock_offset_ns == pytest.approx(clock_shift_s * 1e9, abs=5e9)


def test_after_the_grace_the_device_is_told_to_join_again(house: House, tmp_path: Path) -> None:
    identities = house.joined(tmp_path, days_ago=7 + 91)
    own = FolderIdentity(identities, _check)
    with pytest.raises(NotAuthorisedError, match="91 days ago, more than the 90 days of grace: join it again"):
        own.renew_at_door(lambda _: None)
    assert house.kinds()[-1] == "identity.expired"
    assert house.joined(tmp_path).read() is not None


def test_the_last_day_of_the_grace_is_enough(house: House, tmp_path: Path) -> None:
    own = FolderIdentity(house.joined(tmp_path, days_ago=7 + 89.9), _check)
    assert own.keep(own.renew_at_door(lambda _: None)).ends_ns > time.time_ns()


def test_who_is_in_doubt_is_told_the_time_and_gets_a_certificate_too(house: House, tmp_path: Path) -> None:
    learned: list[int] = []
    own = FolderIdentity(house.joined(tmp_path, days_ago=1), _check)
    before = own.life()
    assert own.keep(own.renew_at_door(learned.append)).ends_ns > before.ends_ns
    assert abs(learned[0] - time.time_ns()) < 5e9


# ---- the door keeps strangers out ----


class TestDoor:
    @pytest.fixture
    def expired(self, house: House, tmp_path: Path) -> IdentityFolder:
        return house.joined(tmp_path, days_ago=30)

    @pytest.fixture
    def door(self, house: House) -> HttpsRenewal:
        return HttpsRenewal(house.door, house.authority.ca_pem())

    def test_a_request_is_good_once(self, expired: IdentityFolder, door: HttpsRenewal) -> None:
        csr = make_request(expired.key_path, door.challenge().challenge)
        door.renew(expired.certificate_path.read_bytes(), csr)
        with pytest.raises(NotAuthorisedError, match="replayed"):
            door.renew(expired.certificate_path.read_bytes(), csr)

    def test_of_eight_that_replay_at_once_one_is_served(self, expired: IdentityFolder, door: HttpsRenewal) -> None:
        csr, certificate = make_request(expired.key_path, door.challenge().challenge), expired.certificate_path
        outcomes: list[str] = []

        def race() -> None:
            try:
                outcomes.append("renewed" if door.renew(certificate.read_bytes(), csr) else "")
            except NotAuthorisedError:
                outcomes.append("refused")

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["refused"] * 7 + ["renewed"]

    def test_another_key_is_refused(self, expired: IdentityFolder, door: HttpsRenewal, tmp_path: Path) -> None:
        make_request(tmp_path / "thief.pem")
        csr = make_request(tmp_path / "thief.pem", door.challenge().challenge)
        with pytest.raises(NotAuthorisedError, match="another key"):
            door.renew(expired.certificate_path.read_bytes(), csr)

    def test_a_request_without_a_challenge_is_refused(self, expired: IdentityFolder, door: HttpsRenewal) -> None:
        with pytest.raises(NotAuthorisedError, match="challenge"):
            door.renew(expired.certificate_path.read_bytes(), make_request(expired.key_path))

    def test_a_certificate_that_this_fleet_did_not_issue_is_refused(
        self, expired: IdentityFolder, door: HttpsRenewal, tmp_path: Path
    ) -> None:
        csr = make_request(expired.key_path, door.challenge().challenge)
        other = open_authority(tmp_path / "other", "lab-2")
        for certificate in (other.issue_device_certificate(csr, "pi-1")[0], other.ca_pem(), b"", b"x" * 100):
            with pytest.raises(NotAuthorisedError, match="of this fleet"):
                door.renew(certificate, csr)

    def test_a_removed_device_is_told_so(self, house: House, expired: IdentityFolder) -> None:
        house.service.devices.remove("pi-1")
        with pytest.raises(RemovedError, match="removed from the fleet"):
            FolderIdentity(expired, _check).renew_at_door(lambda _: None)

    def test_other_bytes_are_refused_in_one_line(self, house: House, door: HttpsRenewal) -> None:
        for certificate, csr in ((b"", b""), (b"\xff" * 50, b"\xff" * 50), (b"x" * 300_000, b"")):
            with pytest.raises(MusterError):
                door.renew(certificate, csr)


# ---- removal and clones ----


def test_removal_ends_the_session_at_once_and_the_agent_stays_away_and_serves_on(
    either_house: House, tmp_path: Path, start: Callable[..., Device], caplog: pytest.LogCaptureFixture
) -> None:
    house = either_house
    identities = house.joined(tmp_path)
    device = start(identities)
    until(lambda: house.service.live.count() == 1, "a session")
    with caplog.at_level(logging.ERROR):
        house.service.devices.remove("pi-1")
        until(lambda: house.service.live.count() == 0, "the end of the session", 5.0)
        until(lambda: any("was removed from the fleet" in r.message for r in caplog.records), "the reason")
    dialled = len(device.dialled_with)
    threading.Event().wait(0.3)  # several back-offs
    assert len(device.dialled_with) == dialled
    assert not device.served.is_closed
    again = start(identities)
    until(lambda: again.daemon._renewal._offline_since_ns is not None, "a first turn")
    again.clock.shift_s += DOUBT_S + 1  # a broker turns it away without a word; the door says why
    until(lambda: again.daemon._is_removed, "the same word at the next start")
    assert house.service.live.count() == 0


def test_two_agents_with_one_identity_are_seen_with_both_addresses(
    house: House, tmp_path: Path, start: Callable[..., Device]
) -> None:
    identities = house.joined(tmp_path)
    one, other = start(identities), start(identities)
    for device in (one, other, one):  # each comes back at once, as it would after half a minute
        device.link.reconnect("a turn")
        until(lambda boot=device.boot_id: house.store.get_device("pi-1").inventory.boot_id == boot, "its hello")  # type: ignore[misc]
    until(lambda: "identity.cloned" in house.kinds(), "the event")
    (event,) = house.service.events.list(kind="identity.cloned")
    assert event.details["address"].startswith("127.0.0.1:")
    assert event.details["other_address"].startswith("127.0.0.1:")
    assert event.details["run"] != event.details["other_run"]
    assert {event.details["boot"], event.details["other_boot"]} == {one.boot_id, other.boot_id}
    assert house.store.get_device("pi-1").cloned_at_ns > 0
    assert house.service.status().cloned_device_ids == ("pi-1",)


# ---- signing keys ----


def test_devices_follow_a_rotation_and_one_that_was_away_for_two_catches_up(
    either_house: House, tmp_path: Path, start: Callable[..., Device]
) -> None:
    house = either_house
    device = start(house.joined(tmp_path))
    house.service.desired.refresh("pi-1")
    until(lambda: device.daemon.reported().desired_version == 1, "a desired state")
    house.service.keys.rotate()
    until(lambda: device.daemon.reported().desired_version == 2, "the desired state of the new key")
    device.close()
    for _ in range(2):
        house.service.keys.rotate(0)
    again = start(device.identities)
    until(lambda: again.daemon.reported().desired_version == 4, "the newest desired state")
    identity = device.identities.read()
    assert identity is not None
    assert identity.key_set_version == 4
    assert identity.trust.in_force(time.time_ns()) == house.authority.signing_keys()
    assert "keys.followed" in house.kinds()


def test_a_device_refuses_a_state_whose_keys_do_not_follow_from_its_own(
    house: House, tmp_path: Path, start: Callable[..., Device]
) -> None:
    identities = house.joined(tmp_path)
    identity = identities.read()
    assert identity is not None
    stranger = SigningKey("ed25519-0000000000000000", bytes(32))
    identities.write(replace(identity, signing_keys=(stranger,)))
    device = start(identities)
    house.service.keys.rotate()
    until(lambda: "desired state refused" in device.daemon.reported().reason, "the refusal")
    after = identities.read()
    assert after is not None
    assert after.signing_keys == (stranger,)
    assert device.daemon.reported().desired_version == 0
