"""The agent's end of the MQTT link: one connection to a broker, one session at a time, artifacts by blocks.

In scope: sessions with the controller behind the broker, order, retries, what a refusal means. Not in scope: topics and
bytes (``muster_protos.mqtt``), what a message means (the daemon decides).
"""

from muster_agent.adapters.link_mqtt.link import MqttLink
from muster_agent.adapters.link_mqtt.timing import LinkTiming
from muster_protos.credentials import Credentials

__all__ = ["Credentials", "LinkTiming", "MqttLink"]
