"""How the gRPC end listens: windows, limits and keepalive, as channel arguments of gRPC's core."""

from __future__ import annotations

from dataclasses import dataclass

from muster_protos.limits import FRAMING_BYTES, MAX_AGENT_MESSAGE_BYTES, MAX_CONTROLLER_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """A silent peer is gone after ``keepalive_time_s`` + ``keepalive_timeout_s``."""

    keepalive_time_s: float = 10.0
    keepalive_timeout_s: float = 20.0  # an answer waits behind what is under way, on a slow network for seconds
    handshake_timeout_s: float = 15.0
    max_pending_requests: int = 20_000  # gRPC's default cancels a quarter of 5,000 streams opened at once
    batch_messages: int = 256
    inbox_messages: int = 512  # then HTTP/2 flow control holds the device back
    max_streams: int = 64  # of one connection: a session, and fetches beside it; further ones wait
    max_connections: int = 20_000  # further ones are closed
    outbox_messages: int = 8192  # then the session is closed as too slow; what is unacknowledged comes again

    def channel_arguments(self) -> list[tuple[str, int]]:
        """For ``grpc.aio.server(options=...)``."""
        return [
            ("grpc.so_reuseport", 0),  # a taken port must fail, not be shared
            ("grpc.server.max_pending_requests", self.max_pending_requests),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.max_pending_requests),
            ("grpc.server_handshake_timeout_ms", int(self.handshake_timeout_s * 1e3)),
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            ("grpc.max_metadata_size", 16 * 1024),
            ("grpc.max_receive_message_length", MAX_AGENT_MESSAGE_BYTES + FRAMING_BYTES),
            ("grpc.max_send_message_length", MAX_CONTROLLER_MESSAGE_BYTES + FRAMING_BYTES),
            ("grpc.http2.bdp_probe", 0),  # devices say little, and its pings end sessions on slow networks
            ("grpc.keepalive_time_ms", int(self.keepalive_time_s * 1e3)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_s * 1e3)),
            ("grpc.http2.ping_timeout_ms", int(self.keepalive_timeout_s * 1e3)),  # else 60 s, and it wins
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 500),
            ("grpc.http2.max_ping_strikes", 0),  # agents choose their own keepalive
        ]
