"""The OwnIdentity port over the identity folder, the key child and the controller's join endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from muster_agent.certificate import read_life
from muster_agent.core.key_sets import Check, follow
from muster_agent.core.renewal import Life
from muster_agent.identity_folder import Identity, IdentityFolder
from muster_agent.join import check_pair, make_request
from muster_agent.renew_https import HttpsRenewal
from muster_protos.errors import InvalidInputError, NotAuthorisedError
from muster_protos.model import SignedEnvelope

log = logging.getLogger(__name__)


class FolderIdentity:
    """``check`` verifies one envelope against one key; ``door_url`` counts before the one that the join left."""

    def __init__(self, folder: IdentityFolder, check: Check, door_url: str = "") -> None:
        self._folder = folder
        self._check = check
        self._door_url = door_url

    def life(self) -> Life:
        return read_life(self._read().certificate_pem)

    def make_request(self, challenge: bytes = b"") -> bytes:
        return make_request(self._folder.key_path, challenge)

    def keep(self, certificate_pem: bytes) -> Life:
        identity = self._read()
        life = read_life(certificate_pem)
        if life.ends_ns < read_life(identity.certificate_pem).ends_ns:
            raise InvalidInputError("expected a certificate that ends later than this device's, found another")
        check_pair(replace(identity, certificate_pem=certificate_pem), self._folder)
        self._folder.renew(certificate_pem)
        return life

    def renew_at_door(self, learn: Callable[[int], None]) -> bytes:
        identity = self._read()
        url = self._door_url or identity.door_url
        if not url:
            raise InvalidInputError("expected the address of the controller's join endpoint, found none: join again")
        door = HttpsRenewal(url, identity.ca_pem)
        given = door.challenge()
        learn(given.clock_ns)
        return door.renew(identity.certificate_pem, self.make_request(given.challenge))

    def learn_door(self, url: str) -> None:
        identity = self._read()
        if url and url != identity.door_url:
            self._folder.write(replace(identity, door_url=url))

    def follow(self, key_sets: Sequence[SignedEnvelope]) -> bool:
        identity = self._read()
        trust = follow(identity.trust, identity.fleet_id, key_sets, self._check)
        if trust is identity.trust or trust == identity.trust:
            return False
        self._folder.write(identity.trusting(trust))
        log.info("set %d of the fleet's signing keys is trusted now", trust.version)
        return True

    def _read(self) -> Identity:
        identity = self._folder.read()
        if identity is None:
            raise NotAuthorisedError("expected a joined device, found no identity any more; join again")
        return identity
