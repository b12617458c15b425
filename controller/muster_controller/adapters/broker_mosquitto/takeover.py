"""End a device's sessions at a broker, any broker: connect under its names, and leave.

MQTT 3.1.1, 3.1.4: a broker must disconnect the session that has a client id when another connects with it. The id is
bound to the certificate's common name, and only the fleet's CA signs such names.
"""

from __future__ import annotations

from collections.abc import Iterable

from muster_controller.ports import FleetAuthority
from muster_protos.broker_door import door_name
from muster_protos.credentials import Credentials
from muster_protos.errors import MusterError
from muster_protos.mqtt.visit import Visit

_LIFE_S = 60.0
_MAX_FAILURES = 3  # in a row: then the broker answers nobody


def take_over_all(
    authority: FleetAuthority, device_ids: Iterable[str], host: str, port: int, ca_pem: bytes = b""
) -> None:
    """As ``take_over`` for each; where one fails the others' turn comes all the same, and the last error is raised."""
    failed: MusterError | None = None
    failures = 0
    for device_id in device_ids:
        try:
            take_over(authority, device_id, host, port, ca_pem)
            failures = 0
        except MusterError as error:
            failed, failures = error, failures + 1
            if failures >= _MAX_FAILURES:
                break
    if failed is not None:
        raise failed


def take_over(
    authority: FleetAuthority, device_id: str, host: str, port: int, ca_pem: bytes = b"", timeout_s: float = 5.0
) -> None:
    """Whatever sessions ``device_id`` had, by itself or at the door, are over when this returns.

    ``ca_pem``: of the broker; b"" = the fleet's.

    Raises:
        UnreachableError: the broker does not answer.
        NotAuthorisedError: the broker does not take the fleet's certificates.
    """
    for name in (device_id, door_name(device_id)):
        certificate, key = authority.issue_client_certificate(name, _LIFE_S)
        credentials = Credentials(ca_pem or authority.ca_pem(), certificate, key)
        with Visit(host, port, credentials, name, timeout_s):
            pass
