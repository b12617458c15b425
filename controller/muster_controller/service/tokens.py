"""Join secrets: made, listed, revoked. Only a secret's sha256 is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from muster_controller.core.entities import JoinToken
from muster_controller.core.join_rules import DEFAULT_TTL_S, make_token
from muster_controller.ports import Clock, Store
from muster_controller.service.broker_joins import BrokerJoins
from muster_controller.service.context import new_id
from muster_controller.service.joining import Joining
from muster_controller.service.nearest import unknown_id

TOKENS_KEPT_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with the secret that is shown this once, and the line to paste on a device."""

    token: JoinToken
    secret: str
    link: str
    broker_link: str = ""  # where only the broker is reachable; "" without one


class Tokens:
    """The fleet's join secrets."""

    def __init__(self, store: Store, clock: Clock, joining: Joining, broker_joins: BrokerJoins | None = None) -> None:
        self._store = store
        self._clock = clock
        self._joining = joining
        self._broker_joins = broker_joins

    def new(self, lifetime_s: float = DEFAULT_TTL_S, uses: int = 1, note: str = "") -> NewToken:
        """Make a secret of 192 random bits. InvalidInputError: no use at all, or too long a life."""
        secret = secrets.token_urlsafe(24)
        token = make_token(secret, new_id("token"), self._clock.now_ns(), lifetime_s, uses, note)
        self._store.add_token(token)
        return NewToken(
            replace(token, secret_sha256=""),
            secret,
            self._joining.join_link(secret),
            self._broker_joins.link(secret, token.expires_at_ns) if self._broker_joins is not None else "",
        )

    def list(self) -> tuple[JoinToken, ...]:
        """Every token, without what would let somebody guess its secret."""
        return tuple(replace(token, secret_sha256="") for token in self._store.list_tokens())

    def prune(self) -> int:
        """Forget tokens a week after their end; until then whoever uses one is told why it is no good."""
        return self._store.prune_tokens(self._clock.now_ns() - TOKENS_KEPT_S * 10**9)

    def revoke(self, token_id: str) -> None:
        known = [token.token_id for token in self._store.list_tokens()]
        if token_id not in known:
            raise unknown_id("token", token_id, "muster token ls")
        self._store.revoke_token(token_id)
