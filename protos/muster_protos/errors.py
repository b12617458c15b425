"""The one error tree.

    MusterError
    |-- TemporaryError          try again, after retry_after_s when it is given
    |   `-- UnreachableError    the other side does not answer
    `-- PermanentError          trying again will not help
        |-- InvalidInputError   somebody handed in something wrong
        |   |-- UsageError      it was typed: an argument, a setting, a policy, a recipe, a field of a request
        |   `-- CodecError      bytes or values that the contract cannot carry
        |-- NotFoundError
        |-- ConflictError       it exists already, or moved meanwhile
        |-- NotAuthorisedError  secret, certificate or signature is not good for this
        |-- MissingExtraError   an optional part is not installed
        `-- InfeasibleError     no variant satisfies the constraints

Leaves are defined here or next to the port that raises them. Every message says what was expected, what was found and
what to do. ``exit_code`` is what the command line returns for it (docs/exit-codes.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MusterError(Exception):
    """Anything that Muster reports to its user in one line."""

    exit_code = 1


class TemporaryError(MusterError):
    """Trying again later may help."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(TemporaryError):
    """The other side does not answer."""

    exit_code = 6


class PermanentError(MusterError):
    """Trying again will not help."""


class InvalidInputError(PermanentError):
    """Somebody handed in something wrong."""


class UsageError(InvalidInputError):
    """A person typed it: an argument, a setting, a policy, a recipe, a field of a request."""

    exit_code = 2


class CodecError(InvalidInputError):
    """Bytes or values that the contract cannot carry."""


class NotFoundError(PermanentError):
    """No such device, model, variant, run or file."""

    exit_code = 4


class ConflictError(PermanentError):
    """It exists already, or it moved meanwhile."""


class NotAuthorisedError(PermanentError):
    """The secret, certificate or signature is not good for this."""

    exit_code = 5


class MissingExtraError(PermanentError):
    """An optional part is not installed."""

    exit_code = 3


class InfeasibleError(PermanentError):
    """No variant satisfies the constraints."""

    exit_code = 7


@contextmanager
def as_usage() -> Iterator[None]:
    """What the block finds wrong with its input was typed: it leaves as a ``UsageError`` with the same message."""
    try:
        yield
    except UsageError:
        raise
    except InvalidInputError as error:
        raise UsageError(str(error)) from error
