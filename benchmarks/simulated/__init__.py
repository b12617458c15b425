"""Simulated agents, many in one asyncio process: real sockets, mutual TLS with a certificate each, the session protocol.

In scope: the link as an agent speaks it (HTTP/2 frames of gRPC, MQTT packets), its back-off, hello, reported state,
reports until they are acknowledged. Not in scope: runtimes, children, a cache, checks of signatures, disks. A thousand
of them cost about one core while they connect and nothing while they idle; a real agent is a process of its own.
"""
