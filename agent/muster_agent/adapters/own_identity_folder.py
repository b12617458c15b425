"""The OwnIdentity port over the identity folder, the key child and the controller's join endpoint."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from muster_agent.address import host_and_port
from muster_agent.certificate import read_life
from muster_agent.core.key_sets import Check, follow
from muster_agent.core.renewal import Life
from muster_agent.https import ForeignError, RemovedError
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import check_pair, make_request
from muster_agent.renew_https import HttpsRenewal
from muster_protos.errors import InvalidInputError, MissingExtraError, MusterError, NotAuthorisedError, TemporaryError
from muster_protos.model import RenewResponse, SignedEnvelope

if TYPE_CHECKING:
    from muster_agent.renew_broker import BrokerRenewal

log = logging.getLogger(__name__)


class FolderIdentity:
    """``check`` verifies one envelope against one key; ``door_url`` counts before the one that the join left."""

    def __init__(self, folder: IdentityFolder, check: Check, door_url: str = "") -> None:
        self._folder = folder
        self._check = check
        self._door_url = door_url
        self._lock = threading.Lock()  # a renewal ends in a thread beside the loop, and each change is read, then write

    def life(self) -> Life:
        return read_life(self._read().certificate_pem)

    def make_request(self, challenge: bytes = b"") -> bytes:
        return make_request(self._folder.key_path, challenge)

    def keep(self, renewed: RenewResponse) -> Life:
        identity, certificate_pem, door_pem = self._read(), renewed.certificate_pem, renewed.door_certificate_pem
        life = read_life(certificate_pem)
        if life.ends_ns < read_life(identity.certificate_pem).ends_ns:
            raise InvalidInputError("expected a certificate that ends later than this device's, found another")
        check_pair(replace(identity, certificate_pem=certificate_pem), self._folder)
        if door_pem:
            check_pair(replace(identity, certificate_pem=door_pem), self._folder)
        with self._lock:
            self._folder.renew(certificate_pem, door_pem)
        return life

    def renew_at_door(self, learn: Callable[[int], None]) -> RenewResponse:
        """At the first door that works: a captive portal or a stranger at one keeps nobody from the next.

        Only the join endpoint's word that this device was removed is the controller's for certain; whoever runs a
        broker could say the same.
        """
        identity = self._read()
        failures: list[MusterError] = []
        for open_door in self._doors(identity):
            try:
                door = open_door()
                given = door.challenge()
                learn(given.clock_ns)
                return door.renew(identity.certificate_pem, self.make_request(given.challenge))
            except RemovedError as error:
                if isinstance(door, HttpsRenewal):
                    raise
                failures.append(NotAuthorisedError(f"{error} (as a broker says, which cannot prove it)"))
            except MusterError as error:
                log.debug("a door stays closed: %s", error)
                failures.append(error)
        if failures:
            raise _weightiest(failures)
        raise InvalidInputError("expected the address of the controller's join endpoint, found none: join again")

    def _doors(self, identity: Identity) -> Iterator[Callable[[], HttpsRenewal | BrokerRenewal]]:
        """The join endpoint, where one is known; then the brokers."""
        url = self._door_url or identity.door_url
        if url:
            yield partial(HttpsRenewal, url, identity.ca_pem)
        brokers = (
            [link for link in identity.links if link.startswith("mqtts:")] if identity.door_certificate_pem else []
        )
        for link in brokers:
            yield partial(_broker_door, link, identity, self._folder)

    def learn_door(self, url: str) -> None:
        if url:
            host_and_port(url, "https")  # it is not signed: what is none would stand in the way of every later renewal
        with self._lock:
            identity = self._read()
            if url and url != identity.door_url:
                self._folder.write(replace(identity, door_url=url))

    def follow(self, key_sets: Sequence[SignedEnvelope]) -> bool:
        identity = self._read()
        trust = follow(identity.trust, identity.fleet_id, key_sets, self._check)
        if trust is identity.trust or trust == identity.trust:
            return False
        with self._lock:
            self._folder.write(self._read().trusting(trust))
        log.info("set %d of the fleet's signing keys is trusted now", trust.version)
        return True

    def _read(self) -> Identity:
        identity = self._folder.read()
        if identity is None:
            raise NotAuthorisedError("expected a joined device, found no identity any more; join again")
        return identity


def _broker_door(link: str, identity: Identity, folder: IdentityFolder) -> BrokerRenewal:
    try:
        from muster_agent.renew_broker import BrokerRenewal  # paho, where MQTT is not the link
    except ImportError as error:
        raise MissingExtraError("expected paho-mqtt for renewing over a broker, found none") from error
    return BrokerRenewal(link, identity, folder.read_key())


def _weightiest(failures: Sequence[MusterError]) -> MusterError:
    """What the controller itself says; else what may be better soon; else the first."""
    refusals = (
        each for each in failures if isinstance(each, NotAuthorisedError) and not isinstance(each, ForeignError)
    )
    temporary = (each for each in failures if isinstance(each, TemporaryError))
    return next(refusals, None) or next(temporary, None) or failures[0]
