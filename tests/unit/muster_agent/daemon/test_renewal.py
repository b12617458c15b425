"""The daemon keeps its certificate young, tries again when that fails, and stops when it is told to go."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from muster_agent.adapters.cache_folder import FolderCache
from muster_agent.adapters.state_sqlite import SqliteState
from muster_agent.core.link_state import LinkState, Standing
from muster_agent.core.renewal import DOUBT_S, LONG_DOUBT_S, Life
from muster_agent.daemon import Daemon, Parts, Settings
from muster_agent.daemon.renewal import Renewal
from muster_agent.daemon.runner import InlineRunner
from muster_agent.https import RemovedError
from muster_agent.testing import (
    GOOD_KEY,
    FakeLink,
    FakeLoad,
    FakeMeasurer,
    FakeSensors,
    FakeServed,
    FakeVerifier,
    ManualClock,
    sign,
    sign_desired,
)
from muster_protos.envelope import SIGNING_KEY_SET
from muster_protos.errors import MusterError, NotAuthorisedError, PermanentError, UnreachableError
from muster_protos.model import (
    ControllerMessage,
    Desired,
    DesiredState,
    Event,
    Goodbye,
    Inventory,
    RenewResponse,
    SessionTerms,
    SignedEnvelope,
)

DAY_S = 86_400.0


@dataclass
class FakeIdentity:
    """A certificate of seven days, and a door."""

    clock: ManualClock
    begun_ns: int = 0
    requests: list[bytes] = field(default_factory=list)
    asked: int = 0
    door_answers: list[bytes | MusterError] = field(default_factory=list)
    door_url: str = ""
    key_sets: list[Sequence[SignedEnvelope]] = field(default_factory=list)
    follow_error: MusterError | None = None
    damage: PermanentError | None = None

    def __post_init__(self) -> None:
        self.begun_ns = self.clock.now_ns()

    def life(self) -> Life:
        if self.damage is not None:
            raise self.damage
        return Life(self.begun_ns, self.begun_ns + int(7 * DAY_S * 1e9), 0.5)

    def make_request(self, challenge: bytes = b"") -> bytes:
        self.requests.append(challenge)
        return b"csr"

    def keep(self, renewed: RenewResponse) -> Life:
        assert renewed.certificate_pem == b"new"
        self.begun_ns = self.clock.now_ns()
        return self.life()

    def renew_at_door(self, learn: Callable[[int], None]) -> RenewResponse:
        self.asked += 1
        learn(self.clock.now_ns())
        answer = self.door_answers.pop(0) if self.door_answers else UnreachableError("nobody there")
        if isinstance(answer, MusterError):
            raise answer
        return RenewResponse(answer)

    def learn_door(self, url: str) -> None:
        self.door_url = url

    def follow(self, key_sets: Sequence[SignedEnvelope]) -> bool:
        self.key_sets.append(key_sets)
        if self.follow_error is not None:
            raise self.follow_error
        return bool(key_sets)


class House:
    """A daemon whose renewals run in the turn itself."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.link = FakeLink()
        self.identity = FakeIdentity(self.clock)
        self.served = FakeServed()
        self.notes: list[LinkState] = []
        self.state = SqliteState(folder / "agent.sqlite3")
        parts = Parts(
            state=self.state,
            cache=FolderCache(folder),
            verifier=FakeVerifier(),
            link=self.link,
            clock=self.clock,
            measurer=FakeMeasurer(),
            served=self.served,
            load=FakeLoad(),
            sensors=FakeSensors(),
            inventory=lambda: Inventory(device_id="pi"),
            random=random.Random(1),
            identity=self.identity,
            note_link=self.notes.append,
        )
        self.daemon = Daemon(parts, Settings("pi", "lab", "boot-1"), InlineRunner())
        outbox = self.daemon._outbox
        self.daemon._renewal = Renewal(parts, outbox, self.daemon.inbox.post, spawn=lambda work: work())
        self.daemon.start()

    def turns(self, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(max(1, round(seconds / step_s))):
            self.clock.advance(step_s)
            self.daemon.turn()
            self.daemon.turn()

    def tell(self, *bodies: Desired | Goodbye | SessionTerms) -> None:
        for body in bodies:
            self.daemon.inbox.received(ControllerMessage(body))
        self.daemon.turn()

    def events(self, kind: str) -> list[Event]:
        bodies = [report.body for report in self.state.reports(0, 1000)]
        return [body for body in bodies if isinstance(body, Event) and body.kind == kind]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.daemon.close()
    made.state.close()


def test_at_two_thirds_of_its_life_the_certificate_is_renewed_once_and_the_link_comes_back_with_it(
    house: House,
) -> None:
    house.link.come_up()
    house.link.renewed = b"new"
    house.turns(4.6 * DAY_S, 3600)
    assert house.identity.requests == []
    house.turns(0.1 * DAY_S, 600)
    assert house.identity.requests == [b""]
    assert len(house.link.reconnects) == 1
    (event,) = house.events("identity.renewed")
    assert event.details["way"] == "link"
    house.turns(DAY_S, 3600)
    assert len(house.identity.requests) == 1


def test_a_renewal_that_fails_is_tried_again_with_growing_pauses_and_said_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.link.come_up()
    house.turns(4.7 * DAY_S, 3600)
    first = len(house.identity.requests)
    with caplog.at_level(logging.WARNING):
        house.turns(3600, 1)
    tries = len(house.identity.requests) - first
    assert 2 <= tries <= 20  # exponential: an hour at a constant 5 s would be 720
    assert len(house.events("identity.renewal_failed")) == 1
    house.link.renewed = b"new"
    house.link.go_down()
    house.link.come_up()  # a new session: at once
    house.turns(2)
    assert len(house.events("identity.renewed")) == 1


def test_an_expired_certificate_is_renewed_at_the_door_and_the_link_told(house: House) -> None:
    house.identity.door_answers = [UnreachableError("nobody there"), b"new"]
    house.turns(7.1 * DAY_S, 3600)
    assert house.identity.asked == 2
    assert len(house.link.reconnects) == 1
    (event,) = house.events("identity.renewed")
    assert event.details["way"] == "door"
    assert house.events("identity.renewal_failed") == []  # an unreachable controller is no event


def test_who_does_not_know_the_time_asks_once_and_believes_the_answer(house: House) -> None:
    house.identity.door_answers = [b"new"]
    house.turns(DOUBT_S - 2)
    assert house.identity.asked == 0
    house.turns(1200)
    assert house.identity.asked == 1
    assert house.clock.is_told
    house.link.come_up()
    house.turns(2)
    house.identity.door_answers = [b"new"]
    house.link.go_down()
    house.turns(LONG_DOUBT_S + 2)
    assert house.identity.asked == 2


def test_after_the_grace_the_reason_is_said_once_and_asked_for_hourly_at_most(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.identity.door_answers = [NotAuthorisedError("the grace is over: join it again")] * 100
    house.identity.begun_ns -= int(8 * DAY_S * 1e9)
    with caplog.at_level(logging.WARNING):
        house.turns(6 * 3600, 10)
    assert 1 <= house.identity.asked <= 7
    assert len([r for r in caplog.records if "join it again" in r.message]) <= 2  # the log line and the event's
    assert len(house.events("identity.renewal_failed")) == 1


@pytest.mark.parametrize("at_door", [True, False])
def test_a_removed_device_stops_asking_and_serves_on(
    house: House, at_door: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        if at_door:
            house.identity.door_answers = [RemovedError("device pi was removed from the fleet")]
            house.identity.begun_ns -= int(8 * DAY_S * 1e9)
            house.turns(3)
        else:
            house.tell(Goodbye("device pi was removed from the fleet", is_revoked=True))
    assert house.link.is_closed
    assert not house.served.is_closed
    assert any("removed from the fleet" in record.message for record in caplog.records)
    asked = house.identity.asked
    house.turns(10 * DAY_S, 3600)
    assert (house.identity.asked, house.identity.requests) == (asked, [])


class TestRemovalThatNobodyProves:
    """Over a broker: whoever runs it can say so."""

    @pytest.fixture(autouse=True)
    def over_a_broker(self, house: House) -> None:
        house.link.is_proven = False
        house.link.come_up()

    def lie(self, house: House) -> None:
        house.tell(Goodbye("removed", is_revoked=True))
        house.link.go_down("removed")
        house.turns(3)

    def test_it_counts_when_the_door_confirms_it(self, house: House) -> None:
        house.identity.door_answers = [RemovedError("device pi was removed from the fleet")]
        self.lie(house)
        assert house.link.is_closed
        assert house.notes[-1].standing is Standing.REMOVED

    def test_a_lie_is_found_out_and_the_device_comes_back(self, house: House) -> None:
        house.identity.door_answers = [b"new"]
        self.lie(house)
        assert not house.link.is_closed
        assert len(house.link.reconnects) == 1

    def test_a_renewal_that_failed_and_waits_does_not_hold_the_question_up(self, house: House) -> None:
        house.turns(4.7 * DAY_S, 3600)  # renewals over the link have begun, and fail
        house.turns(3600)
        tries = len(house.identity.requests)
        house.turns(3)
        assert len(house.identity.requests) == tries, "the next one waits"
        house.identity.door_answers = [RemovedError("device pi was removed from the fleet")]
        self.lie(house)
        assert house.link.is_closed

    def test_without_an_answer_the_device_is_not_lost_and_asks_seldom(self, house: House) -> None:
        for _ in range(20):
            self.lie(house)
            house.link.come_up()
            house.turns(3)
        assert house.identity.asked == 1
        assert not house.link.is_closed
        assert house.notes[-1].standing is Standing.ONLINE
        self.lie(house)
        assert house.notes[-1].standing is not Standing.REMOVED


def test_the_terms_of_a_session_set_the_clock_and_the_door(house: House) -> None:
    told_ns = house.clock.now_ns() + int(50 * 365 * DAY_S * 1e9)
    house.tell(SessionTerms(told_ns, "https://192.0.2.1:8472"))
    assert house.clock.now_ns() == told_ns
    assert house.identity.door_url == "https://192.0.2.1:8472"


def test_a_damaged_identity_is_said_and_does_not_stop_the_daemon(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.identity.damage = PermanentError("expected an identity, found damage; join again")
    house.link.come_up()
    house.turns(120)
    assert len([r for r in caplog.records if "found damage" in r.message and "renewed" in r.message]) == 1


def test_a_desired_state_whose_keys_do_not_follow_is_refused_whoever_signed_it(house: House) -> None:
    house.identity.follow_error = NotAuthorisedError("expected a set signed by this fleet")
    envelope = sign_desired(DesiredState("lab", "pi", 1, 1), GOOD_KEY)
    house.tell(Desired(envelope, (sign(SIGNING_KEY_SET, b""),)))
    assert house.daemon.reported().desired_version == 0
    assert "signed by this fleet" in house.daemon.reported().reason
    house.identity.follow_error = None
    house.tell(Desired(envelope, (sign(SIGNING_KEY_SET, b""),)))
    assert house.daemon.reported().desired_version == 1
    assert len(house.events("keys.followed")) == 1


def test_each_change_of_the_link_is_noted_once_with_its_date_and_reason(house: House) -> None:
    began_ns = house.clock.now_ns()
    house.daemon.inbox.unreached("nobody listens there")
    house.turns(1)
    assert house.notes[-1] == LinkState(Standing.OFFLINE, began_ns, "nobody listens there", "fake")
    house.link.come_up()
    house.turns(3)
    online = house.notes[-1]
    assert (online.standing, online.reason) == (Standing.ONLINE, "")
    house.daemon.inbox.unreached("a word of a link that was left")
    house.link.go_down("the controller stops")
    house.turns(3)
    assert (house.notes[-1].standing, house.notes[-1].reason) == (Standing.OFFLINE, "the controller stops")
    assert house.notes[-1].since_ns > online.since_ns
    assert len(house.notes) == 4


def test_removed_stays_noted_whatever_the_link_says_after_it(house: House) -> None:
    house.link.come_up()
    house.tell(Goodbye("this device is unknown here; join it", is_revoked=True))
    house.link.go_down("the agent stops")
    house.turns(3)
    assert (house.notes[-1].standing, house.notes[-1].reason) == (
        Standing.REMOVED,
        "this device is unknown here; join it",
    )


def test_a_refused_renewal_is_noted_until_a_session_comes_about(house: House) -> None:
    house.identity.door_answers = [NotAuthorisedError("the grace is over: join it again")] * 100
    house.identity.begun_ns -= int(8 * DAY_S * 1e9)
    house.turns(3)
    house.daemon.inbox.unreached("the controller closed the connection")
    house.turns(1)
    assert (house.notes[-1].standing, house.notes[-1].reason) == (
        Standing.REFUSED,
        "the grace is over: join it again",
    )
    house.link.come_up()
    house.turns(1)
    assert house.notes[-1].standing is Standing.ONLINE
