"""From what arrives, or lies on disk, to a desired state that counts: checked beside the loop, adopted by the loop.

A check starts a child that imports cryptography, which takes ten seconds from a worn card and is given a minute; caps,
telemetry and the ends of serving processes do not wait for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from muster_agent.core.steps import RunBenchmark, Step
from muster_agent.core.wanted import Wanted
from muster_agent.daemon.desired import DesiredChecked, DesiredKeeper, Version, peek_version
from muster_agent.daemon.moment import Moment
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.daemon.stored import StoredChecked, check_stored, drop_forged, stored_groups
from muster_protos.errors import TemporaryError
from muster_protos.model import Desired

log = logging.getLogger(__name__)

_WAITING = 4  # a forged one must not take the place of a genuine one; more is no use, the controller repeats itself
_DESIRED = "desired"  # keys of the back-off
_STORED = "stored"


class Adoption:
    """Belongs to the loop; only ``post`` is called from the thread of a check.

    Invariants: one check runs at a time, the one of what lies on disk first; what arrives meanwhile waits, the newest
    is checked first, and what it supersedes is never checked.
    """

    def __init__(
        self,
        parts: Parts,
        settings: Settings,
        moment: Moment,
        outbox: Outbox,
        beside: Callable[[Callable[[], None]], None],
        post: Callable[[DesiredChecked | StoredChecked], None],
    ) -> None:
        self._parts = parts
        self._moment = moment
        self._outbox = outbox
        self._beside = beside
        self._post = post
        self._keeper = DesiredKeeper(parts, settings, outbox)
        self._waiting: deque[tuple[Version, Desired]] = deque(maxlen=_WAITING)
        self._is_checking = False
        self.is_stored_verified = False  # before that nothing may be planned

    @property
    def wanted(self) -> Wanted | None:
        """What counts."""
        return self._keeper.wanted

    @property
    def version(self) -> tuple[int, int]:
        """(epoch, version) of what counts; zeros without."""
        wanted = self._keeper.wanted
        return (wanted.epoch, wanted.version) if wanted else (0, 0)

    @property
    def refused(self) -> str:
        """Why the newest one was not adopted."""
        return self._keeper.refused

    def offer(self, desired: Desired) -> None:
        """It has arrived."""
        version = peek_version(desired.envelope)
        is_known = self.is_stored_verified and not self._keeper.is_newer(version)
        if not is_known and (version, desired) not in self._waiting:
            self._waiting.append((version, desired))

    def turn(self, running: Step | None) -> None:
        """Begin the check that is due. ``running``: the step, which a check would disturb when it measures."""
        if self._is_checking:
            return
        held = self._moment.facts(0, self._parts.clock.monotonic_ns()).held
        if not self.is_stored_verified:
            if _STORED not in held:
                self._check_stored()
            return
        newer = [waiting for waiting in self._waiting if self._keeper.is_newer(waiting[0])]
        self._waiting = deque(newer, _WAITING)
        if not newer or _DESIRED in held:
            return
        version, newest = max(newer, key=lambda waiting: waiting[0])
        if isinstance(running, RunBenchmark) and self._keeper.may_wait(newest.envelope, running.request):
            return
        self._waiting.remove((version, newest))
        self._begin(lambda: self._keeper.check(newest))

    def checked(self, checked: DesiredChecked) -> bool:
        """A check has ended; True when its state was adopted."""
        self._is_checking = False
        try:
            is_adopted = self._keeper.adopt(checked)
        except TemporaryError as error:
            failure = self._moment.failed(_DESIRED, error, self._parts.clock.monotonic_ns())
            log.warning("a desired state could not be checked (%d in a row), trying again: %s", failure.count, error)
            self.offer(checked.desired)
            return False
        self._moment.succeeded(_DESIRED)
        return is_adopted

    def stored_checked(self, checked: StoredChecked) -> None:
        """The check of what lies on disk has ended."""
        self._is_checking = False
        try:
            if checked.error is not None:
                raise checked.error
            drop_forged(checked.forged, self._parts, self._keeper, self._outbox)
        except TemporaryError as error:
            failure = self._moment.failed(_STORED, error, self._parts.clock.monotonic_ns())
            log.warning("the stored state could not be checked (%d in a row), trying again: %s", failure.count, error)
            return
        self._moment.succeeded(_STORED)
        self.is_stored_verified = True

    def _check_stored(self) -> None:
        groups = stored_groups(self._parts, self._keeper)
        if groups:
            self._begin(lambda: check_stored(self._parts.verifier, groups))
        else:
            self.is_stored_verified = True

    def _begin(self, check: Callable[[], DesiredChecked | StoredChecked]) -> None:
        self._is_checking = True
        self._beside(lambda: self._post(check()))
