"""What both ends of a link agree on: sizes, bytes, and names. A message over its limit is refused by its sender."""

from __future__ import annotations

from muster_protos.errors import InvalidInputError

MAX_AGENT_MESSAGE_BYTES = 4 * 1024 * 1024  # a benchmark record with its sketches is about 10 KiB
MAX_CONTROLLER_MESSAGE_BYTES = 16 * 1024 * 1024  # a desired state carries whole manifests, some KiB each
CHUNK_BYTES = 256 * 1024
FRAMING_BYTES = 64 * 1024  # what a transport may add

SESSION_METADATA = "muster-session"  # gRPC initial metadata: the controller has accepted the session
GOODBYE_METADATA = "muster-goodbye-bin"  # gRPC trailing metadata: an encoded Goodbye that says why it has not


def check_size(size_bytes: int, limit_bytes: int, what: str) -> None:
    """Raises:
    InvalidInputError: ``what`` is larger than a link carries.
    """
    if size_bytes > limit_bytes:
        raise InvalidInputError(f"expected a {what} of at most {limit_bytes} bytes, found {size_bytes}")
