"""Whether a broker that somebody else runs keeps devices apart. Tried with throw-away identities, judged by delivery:
a broker may answer "granted" to a forbidden SUBSCRIBE, or take a forbidden PUBLISH, and then not deliver.

Three visits: the controller, which must see everything of the fleet; a victim and a thief, two devices that nobody has,
with certificates for an hour. Every "nothing came" is followed by something that must come on the same way.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from muster_controller.ports import FleetAuthority
from muster_protos.broker_names import topic_root
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError, NotAuthorisedError, UnreachableError
from muster_protos.mqtt.visit import Visit

_LIFE_S = 3600.0
_STRAY_S = 0.25  # order holds within a topic only: what was sent before may come a little after the proof
_VICTIMS = ("presence", "reported", "up/report", "desired", "down/ack")


class UnsafeBrokerError(NotAuthorisedError):
    """The broker lets a device do what it must not, or does not let this fleet do what it must."""


@dataclass(frozen=True, slots=True)
class BrokerUnderTest:
    """Where it is and how the controller gets in."""

    host: str
    port: int
    ca_pem: bytes  # that signed the broker's certificate
    controller: Credentials
    principal: str  # the controller's name there
    timeout_s: float = 10.0


def probe_broker(broker: BrokerUnderTest, authority: FleetAuthority, fleet_id: str) -> None:
    """Return when the broker keeps the devices of the fleet apart.

    Raises:
        UnsafeBrokerError: it does not, or it keeps the fleet itself out; one line that says what to change.
        UnreachableError: it does not answer, or not in time.
    """
    with ExitStack() as stack:
        probe = _Probe(broker, authority, fleet_id, stack)
        try:
            probe.open()
            probe.the_fleet_is_let_in()
            probe.client_ids_are_bound()
            probe.nobody_writes_anothers()
            probe.nobody_reads_anothers()
        finally:
            probe.clear()


class _Probe:
    def __init__(self, broker: BrokerUnderTest, authority: FleetAuthority, fleet_id: str, stack: ExitStack) -> None:
        self._broker = broker
        self._authority = authority
        self._root = topic_root(fleet_id)
        self._stack = stack
        self._mark = secrets.token_hex(8)
        self._victim_id, self._thief_id = f"probe-{self._mark}-v", f"probe-{self._mark}-t"
        self._where = f"{broker.host}:{broker.port}"
        self._controller: Visit | None = None

    def open(self) -> None:
        broker = self._broker
        own = Visit(broker.host, broker.port, broker.controller, broker.principal, broker.timeout_s)
        try:
            self._controller = self._stack.enter_context(own)
        except NotAuthorisedError as error:
            is_foreign = isinstance(error.__cause__, ssl.SSLCertVerificationError)
            raise UnsafeBrokerError(
                f"{error}; name the CA of the broker's own certificate with --mqtt-ca"
                if is_foreign
                else f"{error}; have the broker trust this fleet's CA (identity/ca.pem in the data folder) or name "
                "another certificate with --mqtt-cert"
            ) from error
        self._nobody_comes_without_a_certificate()
        self._thief_pair = self._pair(self._thief_id)
        try:
            self._victim = self._stack.enter_context(self._visit(self._victim_id, self._pair(self._victim_id)))
        except MusterError as error:
            raise UnsafeBrokerError(
                f"expected the broker at {self._where} to take certificates of this fleet's CA (identity/ca.pem), "
                f"found: {error}"
            ) from error
        ours = (f"{self._victim_id}/#", f"{self._thief_id}/#", "controller/presence")  # the fleet may be busy meanwhile
        self._controller.subscribe(*(f"{self._root}/{name}" for name in ours))
        self._victim.subscribe(f"{self._root}/{self._victim_id}/desired", f"{self._root}/{self._victim_id}/down/#")

    def the_fleet_is_let_in(self) -> None:
        """The rights that devices and controller need are there."""
        root, victim = self._root, self._victim_id
        for name in ("presence", "reported", "up/report"):
            self._say(self._victim, f"{root}/{victim}/{name}", self._own, f"a device may write its own {name}")
        for name in ("desired", "down/ack"):
            self._say(
                self._own,
                f"{root}/{victim}/{name}",
                self._victim,
                f"the controller may write {name}, and the device read it",
            )
        self._drain()

    def _nobody_comes_without_a_certificate(self) -> None:
        broker = self._broker
        nobody = Visit(broker.host, broker.port, Credentials(broker.ca_pem, b"", b""), self._mark, broker.timeout_s)
        is_let_in = False
        with contextlib.suppress(MusterError), nobody:
            is_let_in = True
        if is_let_in:
            raise UnsafeBrokerError(
                f"expected the broker at {self._where} to demand a client certificate, found that it lets in who shows "
                "none (mosquitto: require_certificate true, allow_anonymous false)"
            )

    def client_ids_are_bound(self) -> None:
        """A thief that asks for the victim's client id does not end the victim's session."""
        with contextlib.suppress(MusterError), self._visit(self._victim_id, self._thief_pair) as thief:
            thief.receive(_STRAY_S)
        try:
            self._say(self._own, f"{self._root}/{self._victim_id}/down/ack", self._victim, "the victim's session lasts")
        except (UnsafeBrokerError, UnreachableError) as error:
            raise UnsafeBrokerError(
                f"the broker at {self._where} lets a device take another's client id and end its session; "
                "bind client ids to the certificate's name (mosquitto: use_username_as_clientid true)"
            ) from error

    def nobody_writes_anothers(self) -> None:
        """With a certificate of its own, with the victim's name beside it, and with no certificate at all."""
        others = [f"{self._root}/{self._victim_id}/{name}" for name in _VICTIMS]
        for topic in (*others, f"{self._root}/controller/presence"):
            for who in self._thieves():
                with contextlib.suppress(MusterError), who as thief:
                    thief.publish(topic, self._forged)
        for retain in (False, True):
            with contextlib.suppress(MusterError), self._visit(self._thief_id, self._thief_pair) as thief:
                for topic in others:
                    thief.publish(topic, self._forged, retain=retain)
        self._say(self._victim, f"{self._root}/{self._victim_id}/up/report", self._own, "a device may write its own")
        for visit in (self._own, self._victim):
            for topic, payload in self._all(visit):
                if payload == self._forged:
                    raise UnsafeBrokerError(
                        f"the broker at {self._where} lets a device write another's topic "
                        f"({topic.removeprefix(self._root)}); allow each only its own, docs/mqtt.md has the rules"
                    )

    def nobody_reads_anothers(self) -> None:
        """Whatever the thief subscribes to, nothing of others comes."""
        root, victim = self._root, self._victim_id
        greedy = ("#", f"{root}/#", f"{root}/+/desired", f"{root}/{victim}/down/#", f"{root}/{victim}/up/#", "+/+/#")
        try:
            self._listen_to(*greedy)
        except UnreachableError:  # the broker ends the session of who asks for too much: then one at a time
            for topic in greedy:
                with contextlib.suppress(UnreachableError):
                    self._listen_to(topic)
        self._drain()

    def _listen_to(self, *topics: str) -> None:
        root, victim, thief_id = self._root, self._victim_id, self._thief_id
        with self._visit(thief_id, self._thief_pair) as thief:
            thief.subscribe(*topics)
            self._own.publish(f"{root}/{victim}/down/ack", self._secret)
            self._own.publish(f"{root}/{victim}/desired", self._secret, retain=True)
            self._victim.publish(f"{root}/{victim}/up/report", self._secret)
            self._own.publish(f"{root}/{victim}/desired", b"", retain=True)
            for found, _ in self._all(thief):
                if not found.startswith((f"{root}/{thief_id}/", f"{root}/controller/presence")):
                    raise UnsafeBrokerError(
                        f"the broker at {self._where} lets a device read another's topic "
                        f"({found.removeprefix(root)}); allow each only its own, docs/mqtt.md has the rules"
                    )

    def clear(self) -> None:
        """Take back what the broker may have retained."""
        if self._controller is None:
            return
        with contextlib.suppress(MusterError):
            for device_id in (self._victim_id, self._thief_id):
                for name in _VICTIMS:
                    self._controller.publish(f"{self._root}/{device_id}/{name}", b"", retain=True)

    @property
    def _own(self) -> Visit:
        if self._controller is None:
            raise UnreachableError(f"expected a session at {self._where}, found none")
        return self._controller

    @property
    def _forged(self) -> bytes:
        return f"forged {self._mark}".encode()

    @property
    def _secret(self) -> bytes:
        return f"secret {self._mark}".encode()

    def _pair(self, name: str) -> Credentials:
        certificate, key = self._authority.issue_client_certificate(name, _LIFE_S)
        return Credentials(self._broker.ca_pem, certificate, key)

    def _visit(self, client_id: str, credentials: Credentials, user_name: str = "") -> Visit:
        broker = self._broker
        return Visit(broker.host, broker.port, credentials, client_id, broker.timeout_s, user_name=user_name)

    def _thieves(self) -> Iterator[Visit]:
        nothing = Credentials(self._broker.ca_pem, b"", b"")
        yield self._visit(self._thief_id, self._thief_pair)
        yield self._visit(self._thief_id, self._thief_pair, user_name=self._victim_id)
        yield self._visit(self._thief_id, nothing, user_name=self._victim_id)

    def _say(self, speaker: Visit, topic: str, hearer: Visit, claim: str) -> None:
        """Something new comes through; what else comes meanwhile is kept for ``_all``."""
        payload = secrets.token_bytes(16)
        speaker.publish(topic, payload)
        kept: list[tuple[str, bytes]] = []
        deadline_s = time.monotonic() + self._broker.timeout_s
        while (found := hearer.receive(max(0.0, deadline_s - time.monotonic()))) is not None:
            if found == (topic, payload):
                hearer.put_back(kept)
                return
            kept.append(found)
        raise UnsafeBrokerError(
            f"expected of the broker at {self._where} that {claim}, found nothing delivered; docs/mqtt.md has the rules"
        )

    def _all(self, visit: Visit) -> Iterator[tuple[str, bytes]]:
        while (found := visit.receive(_STRAY_S)) is not None:
            yield found

    def _drain(self) -> None:
        for visit in (self._own, self._victim):
            for _ in self._all(visit):
                pass
