"""What can go wrong with a request or a grant.

MusterError
|-- TemporaryError
|   `-- RefusedError       shed: it could not have finished in time (HTTP 503, gRPC RESOURCE_EXHAUSTED)
`-- PermanentError
    |-- InvalidInputError
    |   `-- RequestError   not the protocol, or not the model's signature (400, INVALID_ARGUMENT)
    |-- InferenceError     the runtime failed on a good request (500, INTERNAL)
    `-- GrantError         a grant cannot be served; the previous one stays
"""

from __future__ import annotations

from muster_protos.errors import InvalidInputError, PermanentError, TemporaryError


class RefusedError(TemporaryError):
    """Shed: the request could not have finished in time; ``retry_after_s`` says when to come back."""


class RequestError(InvalidInputError):
    """Not the protocol, or not the model's signature."""


class InferenceError(PermanentError):
    """The runtime failed on a request that fits the signature."""


class GrantError(PermanentError):
    """A grant cannot be served; ``variant_id`` names the variant at fault, empty when it is none."""

    def __init__(self, message: str, variant_id: str = "") -> None:
        super().__init__(message)
        self.variant_id = variant_id
