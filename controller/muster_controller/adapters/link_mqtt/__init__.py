"""The controller's end of the MQTT link: one connection to a broker, a session per device that greets.

In scope: sessions, order, flow, blocks of artifacts, what is refused at the edge. Not in scope: topics and bytes
(``muster_protos.mqtt``), the broker itself, what a message means (the SessionSink decides).
"""

from muster_controller.adapters.link_mqtt.link import MqttLink
from muster_controller.adapters.link_mqtt.options import LinkOptions

__all__ = ["LinkOptions", "MqttLink"]
