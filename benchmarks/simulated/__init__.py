"""Simulated agents, many in one asyncio process: real sockets, real mutual TLS, the real session protocol.

In scope: the link as an agent speaks it (HTTP/2 frames of gRPC, MQTT packets), a certificate each, its back-off, hello,
reported state, reports until they are acknowledged. Not in scope: runtimes, children, a cache, checks of signatures,
disks. A thousand of them cost about one core while they connect and next to nothing while they idle; a real agent is a
process of its own.
"""
