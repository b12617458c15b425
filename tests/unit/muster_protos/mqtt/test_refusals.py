"""A refusal means to the agent what it meant to the controller."""

from __future__ import annotations

import pytest

from muster_protos.errors import (
    InvalidInputError,
    MusterError,
    NotAuthorisedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
)
from muster_protos.model import Refusal
from muster_protos.mqtt.refusals import error_of, refusal_of


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no artifact"),
        NotAuthorisedError("not yours"),
        InvalidInputError("bad offset"),
        PermanentError("no"),
        TemporaryError("later", 2.5),
        TemporaryError("later"),
    ],
)
def test_error_crosses_the_link_unchanged(error: MusterError) -> None:
    found = error_of(refusal_of(7, error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    if isinstance(error, TemporaryError) and isinstance(found, TemporaryError):
        assert found.retry_after_s == error.retry_after_s


def test_kind_of_a_newer_controller_is_worth_another_try() -> None:
    assert isinstance(error_of(Refusal(1, "busy", "wait")), TemporaryError)


def test_long_message_is_one_short_line() -> None:
    assert len(refusal_of(1, PermanentError("a\nb " * 10_000)).message) <= 1000
    assert "\n" not in refusal_of(1, PermanentError("a\nb")).message
