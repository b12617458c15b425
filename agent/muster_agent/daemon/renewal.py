"""Keeps this device's certificate young: asks for the next one in time, in a thread beside the loop.

The old certificate counts until its own end, so a renewal that fails costs nothing but the next try. The new one is on
disk, whole, before it is used; the link then comes back with it as after any lost session, and what was not
acknowledged is sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster_agent.core.backoff import Backoff
from muster_agent.core.renewal import Life, Way, way_to_renew
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_agent.https import RemovedError
from muster_agent.ports import OwnIdentity
from muster_protos.errors import MusterError, PermanentError, TemporaryError

log = logging.getLogger(__name__)

_RETRIES = Backoff(base_s=5.0, cap_s=3600.0)
_CONFIRM_EVERY_NS = 600 * 10**9  # whoever runs a broker may lie as often as he likes


@dataclass(frozen=True, slots=True)
class RenewalEnded:
    """An attempt is over; ``life`` is the new certificate's, None when none came."""

    way: Way
    life: Life | None = None
    error: MusterError | None = None


def in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` beside the loop. It holds nothing that a killed process would leave behind."""
    threading.Thread(target=work, name="renewal", daemon=True).start()


class Renewal:
    """Belongs to the loop; ``post`` is called from the attempt's thread."""

    def __init__(
        self,
        parts: Parts,
        outbox: Outbox,
        post: Callable[[RenewalEnded], None],
        spawn: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._parts = parts
        self._outbox = outbox
        self._post = post
        self._spawn = spawn
        self._life: Life | None = None
        self._is_asking = False
        self._failures = 0
        self._held_until_ns = 0  # monotonic
        self._offline_since_ns: int | None = None  # monotonic; None = online
        self._has_asked = False  # at the door, since the last session
        self._is_doubted = False  # whether this device still belongs to its fleet
        self._confirmed_ns: int | None = None  # monotonic; when that was asked last
        self._shall_reconnect = False
        self._said = ""

    def turn(self, *, is_online: bool, is_busy: bool, is_fetching: bool) -> None:
        """Begin an attempt when one is due; come back with a new certificate when nothing is on its way."""
        if self._parts.identity is None:
            return
        now_ns = self._parts.clock.monotonic_ns()
        if is_online:
            self._offline_since_ns = None
        elif self._offline_since_ns is None:
            self._offline_since_ns = now_ns
        if self._shall_reconnect and is_online and not is_fetching:
            self._shall_reconnect = False
            self._parts.link.reconnect("the agent comes back with its new certificate")
            return
        if self._is_asking or (now_ns < self._held_until_ns and not self._shall_confirm(now_ns)):
            return
        way = self._way(now_ns, is_busy)
        if way is not Way.NONE:
            self._is_asking = True
            self._spawn(lambda: self._post(self._attempt(way)))

    def session_began(self) -> None:
        """The link works: what failed before may be tried again at once."""
        self._held_until_ns = 0
        self._has_asked = False
        self._said = ""

    def confirm_removal(self) -> None:
        """Somebody who cannot prove it says that this device was removed: ask at the door, soon and seldom. Whoever
        is removed is told so there; whoever is not comes back with a new certificate."""
        self._is_doubted = True

    def learn_door(self, url: str) -> None:
        """Where to ask when the certificate has run out; without it nothing but that is lost."""
        if self._parts.identity is None:
            return
        try:
            self._parts.identity.learn_door(url)
        except MusterError as error:
            log.warning("the controller's join endpoint is not remembered: %s", error)

    def ended(self, ended: RenewalEnded) -> bool:
        """Take the outcome of an attempt; True when the controller says that this device was removed."""
        self._is_asking = False
        self._has_asked |= ended.way is Way.DOOR and not isinstance(ended.error, TemporaryError)
        now_ns = self._parts.clock.monotonic_ns()
        if ended.error is None:
            self._failures = 0
            if ended.life is not None:
                self._renewed(ended.life, ended.way)
            return False
        self._failures += 1
        wait_s = _RETRIES.wait_s(self._failures, self._parts.random.random(), _asked_wait_s(ended.error))
        self._held_until_ns = now_ns + int(wait_s * 1e9)
        self._say(ended.error, ended.way)
        return isinstance(ended.error, RemovedError)

    def _shall_confirm(self, now_ns: int) -> bool:
        """Whatever failed before: this question has a pace of its own."""
        return self._is_doubted and (self._confirmed_ns is None or now_ns - self._confirmed_ns >= _CONFIRM_EVERY_NS)

    def _way(self, now_ns: int, is_busy: bool) -> Way:
        since_ns, clock = self._offline_since_ns, self._parts.clock
        try:
            life = self._life = self._life or self._own().life()
        except MusterError as error:  # the folder is damaged, or the certificate is: only joining mends that
            self._say(error, Way.NONE)
            self._is_doubted = False
            self._held_until_ns = now_ns + int(_RETRIES.cap_s * 1e9)
            return Way.NONE
        if self._shall_confirm(now_ns):
            self._is_doubted, self._confirmed_ns = False, now_ns
            return Way.DOOR
        return way_to_renew(
            life,
            clock.now_ns(),
            is_clock_known=clock.is_told,
            offline_s=None if since_ns is None else (now_ns - since_ns) / 1e9,
            has_asked=self._has_asked,
            is_busy=is_busy,
        )

    def _attempt(self, way: Way) -> RenewalEnded:
        """In a thread of its own: what it raises is an outcome."""
        identity = self._own()
        try:
            if way is Way.LINK:
                renewed = self._parts.link.renew(identity.make_request())
            else:
                renewed = identity.renew_at_door(self._parts.clock.learn)
            return RenewalEnded(way, identity.keep(renewed))
        except MusterError as error:
            return RenewalEnded(way, error=error)
        except Exception as error:
            log.exception("a renewal failed")
            return RenewalEnded(way, error=MusterError(f"{type(error).__name__}: {error}"))

    def _renewed(self, life: Life, way: Way) -> None:
        self._life = life
        self._said = ""
        self._shall_reconnect = way is Way.LINK
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(life.ends_ns / 1e9))
        self._outbox.event("identity.renewed", details={"until": until, "way": way.value})
        if way is Way.DOOR:
            self._parts.link.reconnect("the agent has a certificate again")

    def _say(self, error: MusterError, way: Way) -> None:
        """Once per reason, not once per attempt; an event when it is more than an unreachable controller."""
        if str(error) == self._said:
            return
        self._said = str(error)
        log.warning("this device's certificate is not renewed: %s", error)
        if way is Way.LINK or isinstance(error, PermanentError):
            self._outbox.event("identity.renewal_failed", reason=str(error), details={"way": way.value})

    def _own(self) -> OwnIdentity:
        identity = self._parts.identity
        assert identity is not None
        return identity


def _asked_wait_s(error: MusterError) -> float | None:
    if isinstance(error, PermanentError):
        return _RETRIES.cap_s
    return getattr(error, "retry_after_s", None)
