"""The secret may come on standard input, because arguments show in process lists."""

from __future__ import annotations

import pytest

from muster_agent.cli.join import _with_secret
from muster_protos.errors import InvalidInputError

FINGERPRINT = "ab" * 32


@pytest.mark.parametrize("token", [f"MST1.{FINGERPRINT}", f"MST1.-.{FINGERPRINT}"])
def test_the_secret_is_put_into_its_place(token):
    assert _with_secret(f"https://h:8472#{token}", "s3cret") == f"https://h:8472#MST1.s3cret.{FINGERPRINT}"


@pytest.mark.parametrize(
    ("link", "secret"), [("https://h:8472", "s"), (f"https://h#MST1.{FINGERPRINT}", ""), ("", "s")]
)
def test_half_a_link_is_refused(link, secret):
    with pytest.raises(InvalidInputError, match="standard input"):
        _with_secret(link, secret)
