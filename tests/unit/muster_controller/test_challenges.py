"""A challenge is good once, for a short while, and only where it was made."""

from __future__ import annotations

import pytest

from muster_controller.adapters.identity_x509.challenges import LIFE_S, Challenges
from muster_controller.testing import ManualClock
from muster_protos.errors import NotAuthorisedError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_challenge_is_good_once(clock: ManualClock) -> None:
    challenges = Challenges(clock.now_ns)
    challenge = challenges.new()
    challenges.check(challenge)
    challenges.spend(challenge)
    with pytest.raises(NotAuthorisedError, match="replayed"):
        challenges.spend(challenge)


def test_a_challenge_ends(clock: ManualClock) -> None:
    challenges = Challenges(clock.now_ns)
    challenge = challenges.new()
    clock.advance(LIFE_S)
    with pytest.raises(NotAuthorisedError, match="older"):
        challenges.spend(challenge)


def test_a_restart_ends_every_challenge_so_nothing_can_be_replayed_over_it(clock: ManualClock) -> None:
    challenge = Challenges(clock.now_ns).new()
    with pytest.raises(NotAuthorisedError, match="this controller"):
        Challenges(clock.now_ns).spend(challenge)


@pytest.mark.parametrize("place", [0, 8, 24, 55])
def test_a_changed_byte_is_noticed(clock: ManualClock, place: int) -> None:
    challenges = Challenges(clock.now_ns)
    changed = bytearray(challenges.new())
    changed[place] ^= 1
    with pytest.raises(NotAuthorisedError):
        challenges.spend(bytes(changed))


@pytest.mark.parametrize("challenge", [b"", b"x", b"x" * 24, b"x" * 56, b"x" * 10_000])
def test_other_bytes_are_no_challenge(clock: ManualClock, challenge: bytes) -> None:
    with pytest.raises(NotAuthorisedError):
        Challenges(clock.now_ns).spend(challenge)


def test_spent_challenges_are_forgotten_after_their_end(clock: ManualClock) -> None:
    challenges = Challenges(clock.now_ns)
    for _ in range(3):
        challenges.spend(challenges.new())
    clock.advance(LIFE_S + 1)
    challenges.spend(challenges.new())
    assert len(challenges._spent) == 1
