"""Who may read and write what at the broker, as a mosquitto ACL file (mosquitto.conf(5), acl_file).

``%u`` is the user name, which is the common name of the certificate that TLS has verified. Nothing is allowed that no
line allows. A pattern holds for every user, the controller too, which therefore must not bear a device's name.

What may be written is named topic by topic: whoever may write below a name at will fills the broker with retained
messages on topics of his own making.
"""

from __future__ import annotations

from muster_protos.broker_door import door_ask_topic
from muster_protos.broker_join import ask_topic
from muster_protos.broker_names import CONTROLLER, topic_root
from muster_protos.mqtt.topics import PRESENCE, REPORTED, Up

DEVICE_READS = ("desired", "down/#")
DEVICE_WRITES = (PRESENCE, REPORTED, *(f"up/{kind.value}" for kind in Up))


def acl_text(fleet_id: str) -> str:
    """The rules of one fleet."""
    root = topic_root(fleet_id)
    lines = [
        "# Written by muster up at each start.",
        f"user {CONTROLLER}",
        f"topic readwrite {root}/#",
        "",
        *(f"pattern read {root}/%u/{name}" for name in DEVICE_READS),
        *(f"pattern write {root}/%u/{name}" for name in DEVICE_WRITES),
        f"pattern write {ask_topic(fleet_id, '%u')}",
        f"pattern write {door_ask_topic(fleet_id, '%u')}",
        f"pattern read {root}/controller/presence",
    ]
    return "\n".join(lines) + "\n"
