"""A run that made nothing is an error, and still says what each variant came to."""

from __future__ import annotations

from muster_compression.orders import RecipeResult
from muster_protos.errors import InvalidInputError, MissingExtraError


class NothingMadeError(InvalidInputError):
    """No variant of a recipe could be made; ``result`` has each with its steps and the reason."""

    def __init__(self, message: str, result: RecipeResult) -> None:
        super().__init__(message)
        self.result = result


class ExtrasMissingError(MissingExtraError):
    """The same where all that is missing is an optional part."""

    def __init__(self, message: str, result: RecipeResult) -> None:
        super().__init__(message)
        self.result = result


def nothing_made(result: RecipeResult) -> NothingMadeError | ExtrasMissingError:
    """The error that says so in one line."""
    kind = ExtrasMissingError if all(item.is_extra_missing for item in result.failed) else NothingMadeError
    return kind("; ".join(f"{item.name}: {item.reason}" for item in result.failed), result)
