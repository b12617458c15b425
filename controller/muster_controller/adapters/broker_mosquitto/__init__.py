"""mosquitto as a supervised child: the broker of a fleet whose owner has none.

In scope: its configuration (mutual TLS, access rules, limits), its life, ending a device's session and refusing its
certificates. Not in scope: what is said over it (``adapters/link_mqtt``), brokers that somebody else runs.
"""

from muster_controller.adapters.broker_mosquitto.broker import INSTALL, MosquittoBroker, find_mosquitto

__all__ = ["INSTALL", "MosquittoBroker", "find_mosquitto"]
