"""What both ends of the MQTT link share: topics, the connection to a broker, order within a session.

MQTT 3.1.1 on the wire, so that any broker serves. In scope: bytes to and from a broker, their order, their sizes. Not
in scope: what a session is (the two links decide).
"""
