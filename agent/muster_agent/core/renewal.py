"""When a device asks for a new certificate, and by which way. Pure.

Over the live link while there is one, at two thirds of the certificate's life; through the controller's join endpoint,
which asks for no certificate, when the old one has run out and no link comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

RENEW_AT = 2 / 3  # of the life, as Let's Encrypt and cert-manager advise
SPREAD = 1 / 10  # of the life, around it: a fleet that joined in one minute does not renew in one minute
URGENT_AT = 0.85  # from here on a benchmark that is running is no reason to wait
DOUBT_S = 60.0  # a device that does not know the time and gets no link for so long may have an expired certificate
LONG_DOUBT_S = 600.0  # one that knows the time may have been removed: a broker turns it away without a word


class Way(Enum):
    """How to ask."""

    NONE = "none"
    LINK = "link"
    DOOR = "door"


@dataclass(frozen=True, slots=True)
class Life:
    """A certificate's life, ns since 1970; ``draw`` in [0, 1) is its own."""

    begins_ns: int
    ends_ns: int
    draw: float = 0.5

    def at_ns(self, share: float) -> int:
        """The moment when ``share`` of it is over."""
        return self.begins_ns + int((self.ends_ns - self.begins_ns) * share)

    def due_ns(self) -> int:
        """When to renew: 0.62 to 0.72 of the life."""
        return self.at_ns(RENEW_AT + SPREAD * (self.draw - 0.5))

    def is_over(self, now_ns: int) -> bool:
        return now_ns >= self.ends_ns


def way_to_renew(
    life: Life, now_ns: int, *, is_clock_known: bool, offline_s: float | None, has_asked: bool, is_busy: bool
) -> Way:
    """What to do now.

    ``is_clock_known``: the controller has told the time since the agent started. ``offline_s``: how long there has
    been no session; None = there is one. ``has_asked``: the door has answered since the last one. ``is_busy``: a
    benchmark runs, which a key child beside it would disturb.
    """
    if offline_s is None:
        is_due = now_ns >= life.due_ns() and not (is_busy and now_ns < life.at_ns(URGENT_AT))
        return Way.LINK if is_due else Way.NONE
    if life.is_over(now_ns):
        return Way.DOOR
    doubt_s = LONG_DOUBT_S if is_clock_known else DOUBT_S
    return Way.DOOR if not has_asked and offline_s >= doubt_s else Way.NONE
