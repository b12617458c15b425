"""The endpoint's own certificate, made anew while it listens.

It has no end (``identity_x509/certificates.py`` says why), so what is renewed is the key, which lives in memory only.
gRPC asks before each handshake; connections that stand keep what they began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from muster_controller.ports import FleetAuthority

LIFE_S = 7 * 86_400.0


class HostCertificate:
    """Thread-safe: gRPC asks from threads of its own."""

    def __init__(
        self, authority: FleetAuthority, names: Sequence[str], monotonic_s: Callable[[], float], life_s: float = LIFE_S
    ) -> None:
        self._authority = authority
        self._names = names
        self._monotonic_s = monotonic_s
        self._life_s = life_s
        self._lock = threading.Lock()
        self._made_s = 0.0

    def credentials(self) -> grpc.ServerCredentials:
        """Mutual TLS whose certificate follows."""
        fetch: Any = self._fetch  # the stubs forget that None means: no change
        return grpc.dynamic_ssl_server_credentials(self._make(), fetch, require_client_authentication=True)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The next certificate when this one is old; None leaves it in place."""
        with self._lock:
            return self._make() if self._monotonic_s() - self._made_s >= self._life_s else None

    def _make(self) -> grpc.ServerCertificateConfiguration:
        certificate, key = self._authority.issue_host_certificate(self._names)
        self._made_s = self._monotonic_s()
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=self._authority.ca_pem()
        )
