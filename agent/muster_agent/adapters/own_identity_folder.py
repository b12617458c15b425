"""The OwnIdentity port over the identity folder, the key child and the controller's join endpoint."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from muster_agent.certificate import read_life
from muster_agent.core.key_sets import Check, follow
from muster_agent.core.renewal import Life
from muster_agent.https import host_and_port
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import check_pair, make_request
from muster_agent.renew_https import HttpsRenewal
from muster_protos.errors import InvalidInputError, NotAuthorisedError, UnreachableError
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
        identity = self._read()
        unreachable: UnreachableError | None = None
        for door in self._doors(identity):
            try:
                given = door.challenge()
                learn(given.clock_ns)
                return door.renew(identity.certificate_pem, self.make_request(given.challenge))
            except UnreachableError as error:
                unreachable = unreachable or error
        if unreachable is not None:
            raise unreachable
        raise InvalidInputError("expected the address of the controller's join endpoint, found none: join again")

    def _doors(self, identity: Identity) -> Iterator[HttpsRenewal | BrokerRenewal]:
        """The join endpoint, where one is known; then the brokers."""
        url = self._door_url or identity.door_url
        if url:
            yield HttpsRenewal(url, identity.ca_pem)
        brokers = (
            [link for link in identity.links if link.startswith("mqtts:")] if identity.door_certificate_pem else []
        )
        if brokers:
            from muster_agent.renew_broker import BrokerRenewal  # paho, where MQTT is not the link

            for link in brokers:
                yield BrokerRenewal(link, identity, self._folder.read_key())

    def learn_door(self, url: str) -> None:
        if url:
            host_and_port(url)  # it is not signed: what is none would stand in the way of every later renewal
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
