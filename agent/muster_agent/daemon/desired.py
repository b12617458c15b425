"""Adopting a desired state: ignored when not newer, verified before it is decoded further, persisted, then acted on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from muster_agent.core.wanted import Wanted, envelopes_of, read_wanted, supersedes
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_devices.failpoint import hit
from muster_protos import codec
from muster_protos.errors import MusterError, PermanentError, TemporaryError
from muster_protos.model import BenchmarkRequest, Desired, DesiredState, SignedEnvelope

log = logging.getLogger(__name__)

Version = tuple[int, int]
"""(epoch, version)"""

_UNREADABLE = (2**64, 2**64)


@dataclass(frozen=True, slots=True)
class DesiredChecked:
    """What came of a check: what is wanted, or why it does not count."""

    desired: Desired
    wanted: Wanted | None = None
    error: MusterError | None = None


class DesiredKeeper:
    """Holds the newest verified desired state.

    Invariant: (epoch, version) of what is held never goes down, in memory and on disk.
    """

    def __init__(self, parts: Parts, settings: Settings, outbox: Outbox) -> None:
        self._parts = parts
        self._settings = settings
        self._outbox = outbox
        self.refused = ""  # why the newest one was not adopted
        self.wanted = self._load()

    def is_newer(self, version: Version) -> bool:
        """Of what unverified bytes say; good only for ignoring: the controller repeats itself at every reconnect."""
        return supersedes(Wanted(epoch=version[0], version=version[1]), self.wanted)

    def check(self, desired: Desired) -> DesiredChecked:
        """Whether it is genuine. Newer signing keys that come with it are followed first. May take a minute: to be
        called beside the loop; changes nothing here."""
        envelope = desired.envelope
        try:
            if self._parts.identity is not None and self._parts.identity.follow(desired.key_sets):
                self._outbox.event("keys.followed", details={"set": str(len(desired.key_sets) + 1)})
            self._parts.verifier.verify(envelopes_of(envelope))
            return DesiredChecked(desired, read_wanted(envelope, self._settings.device_id, self._settings.fleet_id))
        except MusterError as error:
            return DesiredChecked(desired, error=error)
        except Exception as error:
            log.exception("a desired state could not be checked")
            return DesiredChecked(desired, error=TemporaryError(f"{type(error).__name__}: {error}"))

    def adopt(self, checked: DesiredChecked) -> bool:
        """Adopt it when it is genuine, and newer still; True when it was adopted.

        Raises:
            TemporaryError: it could not be checked or stored; offer it again later.
        """
        if isinstance(checked.error, TemporaryError):
            raise checked.error
        if checked.error is not None:
            self._refuse(checked.error)
            return False
        wanted = checked.wanted
        if wanted is None or not supersedes(wanted, self.wanted):
            return False
        hit("desired: verified")
        self._parts.state.put_desired(checked.desired.envelope)
        hit("desired: stored")
        self.wanted = wanted
        self.refused = ""
        log.info("desired state %d.%d adopted", wanted.epoch, wanted.version)
        return True

    def stored_envelopes(self) -> tuple[SignedEnvelope, ...]:
        """What the desired state that was found on disk stands on; none without one."""
        envelope = self._parts.state.desired() if self.wanted is not None else None
        return () if envelope is None else envelopes_of(envelope)

    def distrust(self, error: PermanentError) -> None:
        """What was found on disk is not genuine: it counts as damaged, the controller sends it again."""
        self.wanted = None
        self._refuse(error)

    def may_wait(self, envelope: SignedEnvelope, running: BenchmarkRequest) -> bool:
        """Whether adopting it can wait for the end of a benchmark: it changes nothing but which others are open.

        Checking signatures takes a third of a CPU second, which a run beside it would measure. A look at unverified
        bytes; a forged state gains nothing but the delay.
        """
        try:
            peeked = codec.decode(DesiredState, envelope.payload)
        except PermanentError:
            return False
        if self.wanted is None or running not in peeked.benchmarks:
            return False
        held = tuple(model.source for model in self.wanted.models)
        return (peeked.epoch, peeked.models, peeked.loads) == (self.wanted.epoch, held, self.wanted.loads)

    def _refuse(self, error: MusterError) -> None:
        reason = f"desired state refused: {error}"
        if reason != self.refused:
            self._outbox.event("desired.refused", reason=str(error))
        self.refused = reason

    def _load(self) -> Wanted | None:
        try:
            envelope = self._parts.state.desired()
            if envelope is None:
                return None
            return read_wanted(envelope, self._settings.device_id, self._settings.fleet_id)
        except PermanentError as error:
            log.error("the stored desired state is unusable, waiting for the controller: %s", error)
            return None


def peek_version(envelope: SignedEnvelope) -> Version:
    """(epoch, version) as unverified bytes say; above all others where they say nothing: refused with its reason by the
    check."""
    try:
        peeked = codec.decode(DesiredState, envelope.payload)
    except PermanentError:
        return _UNREADABLE
    return peeked.epoch, peeked.version
