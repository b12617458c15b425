"""The HTTP doors of a controller: REST, and where devices join.

Their libraries take longer to load than everything that devices need who come back. So this module is imported while
the links serve already; the doors' ports listen from the beginning, and whoever knocks waits.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from muster_controller.adapters.identity_x509 import X509Authority
from muster_controller.adapters.join_https import JoinEndpoint
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.ports import Authenticator
from muster_controller.service.service import Service
from muster_controller.web.late import Application, LateApplication


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where they are: sockets that listen, and the address under which this host is reached."""

    rest: socket.socket
    join: socket.socket
    address: str
    has_tls: bool  # on REST


class Doors:
    """Both of them, as one part that starts and stops."""

    def __init__(
        self, service: Service, authority: X509Authority, authenticator: Authenticator, doorway: Doorway
    ) -> None:
        def build() -> Application:
            from muster_controller.web.app import create_app

            return create_app(service, authenticator)

        names = [doorway.address]
        self._authority = authority
        self._names = names
        self._application = LateApplication(build)
        tls = authority.issue_host_certificate(names) if doorway.has_tls else None
        self._rest = RestEndpoint(self._application, tls=tls, listening=doorway.rest)
        self._join = JoinEndpoint(
            service.sessions.join, authority, names=names, door=service.renewals, listening=doorway.join
        )

    async def start(self) -> None:
        """Open them."""
        await self._join.start()
        await self._rest.start()

    async def warm(self) -> None:
        """Have the REST application built, so that nobody waits for it."""
        await self._application.built()

    def renew_certificates(self) -> None:
        """New keys, from the next handshake on."""
        self._join.renew_certificate()
        self._rest.renew_certificate(*self._authority.issue_host_certificate(self._names))

    def say_stopping(self) -> None:
        """Have answers without an end come to one."""
        self._application.stop()

    async def stop(self) -> None:
        """Finish what is being answered. Safe to call twice."""
        self.say_stopping()
        await self._join.stop()
        await self._rest.stop()
