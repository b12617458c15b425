"""What both ends of a link agree on: sizes, bytes, and names. A message over its limit is refused by its sender."""

from __future__ import annotations

from muster_protos.errors import InvalidInputError

MAX_AGENT_MESSAGE_BYTES = 4 * 1024 * 1024  # a benchmark record with its sketches is about 10 KiB
MAX_CONTROLLER_MESSAGE_BYTES = 16 * 1024 * 1024  # a desired state carries whole manifests, some KiB each
CHUNK_BYTES = 256 * 1024
FRAMING_BYTES = 64 * 1024  # what a transport may add

# MQTT has no flow control from end to end, so both ends keep to these.
BLOCK_BYTES = 64 * 1024  # of an artifact, in one message
MAX_BLOCKS_OUTSTANDING = 8  # asked for and not yet there, per fetch
MAX_UNTAKEN_MESSAGES = 64  # sent in a session and not yet taken by the controller
MAX_UNTAKEN_BYTES = 1024 * 1024  # of those together; one larger message may go alone
MAX_BROKER_PACKET_BYTES = MAX_CONTROLLER_MESSAGE_BYTES + FRAMING_BYTES  # what a broker has to carry

SESSION_METADATA = "muster-session"  # gRPC initial metadata: the controller has accepted the session
GOODBYE_METADATA = "muster-goodbye-bin"  # gRPC trailing metadata: an encoded Goodbye that says why it has not


def check_size(size_bytes: int, limit_bytes: int, what: str) -> None:
    """Raises:
    InvalidInputError: ``what`` is larger than a link carries.
    """
    if size_bytes > limit_bytes:
        raise InvalidInputError(f"expected a {what} of at most {limit_bytes} bytes, found {size_bytes}")
