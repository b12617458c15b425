"""End a device's sessions at a broker, any broker: connect under its names, and leave.

MQTT 3.1.1, 3.1.4: a broker must disconnect the session that has a client id when another connects with it. The id is
bound to the certificate's common name, and only the fleet's CA signs such names.
"""

from __future__ import annotations

from muster_controller.ports import FleetAuthority
from muster_protos.broker_door import door_name
from muster_protos.credentials import Credentials
from muster_protos.mqtt.visit import Visit

_LIFE_S = 60.0


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
