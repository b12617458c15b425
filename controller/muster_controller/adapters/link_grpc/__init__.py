"""The controller's end of the gRPC link: mutual TLS, one bidirectional stream per device, ranged fetches.

In scope: bytes, identity from the peer's certificate, batching, the order of one device's sessions. Not in scope: what
a message means (the SessionSink decides).
"""

from muster_controller.adapters.link_grpc.link import GrpcLink
from muster_controller.adapters.link_grpc.options import LinkOptions

__all__ = ["GrpcLink", "LinkOptions"]
