"""The controller's end of the gRPC link: mutual TLS, one bidirectional stream per device, ranged fetches.

In scope: bytes, identity from the peer's certificate, batching, the order of one device's sessions. Not in scope: what
a message means (the SessionSink decides).
"""

import os

# gRPC's core reads these when it is loaded; its own log would repeat every refused handshake on standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # children are started with exec and use nothing of ours

from muster_controller.adapters.link_grpc.link import GrpcLink
from muster_controller.adapters.link_grpc.options import LinkOptions

__all__ = ["GrpcLink", "LinkOptions"]
