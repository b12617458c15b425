import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_protos.errors import InvalidInputError
from muster_protos.ids import check_id, check_sha256, variant_id

_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@given(st.text(_FIRST, min_size=1, max_size=1), st.text(_FIRST + "._-", max_size=63))
def test_every_id_of_the_grammar_is_taken_as_it_is(first, rest):
    assert check_id(first + rest, "device id") == first + rest


@given(st.text())
def test_anything_else_is_refused(text):
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text, re.ASCII):
        assert check_id(text, "id") == text
    else:
        with pytest.raises(InvalidInputError, match="expected a device id of 1 to 64"):
            check_id(text, "device id")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-a",
        "_a",
        "a/b",
        "a\0b",
        "a b",
        "a\n",
        "a+",
        "a#",
        "\u00e4",
        "\uff41",
        "\u0660",
        "../x",
        "a" * 65,
        "x" * 65536,
    ],
)
def test_names_that_would_be_paths_topics_or_tricks(text):
    with pytest.raises(InvalidInputError) as refused:
        check_id(text, "model id")
    assert len(str(refused.value)) < 300


@given(st.binary(min_size=32, max_size=32))
def test_lower_case_hex_of_32_bytes_is_a_sha256(digest):
    assert check_sha256(digest.hex()) == digest.hex()


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_no_sha256(text):
    with pytest.raises(InvalidInputError, match="64 lower-case hex digits"):
        check_sha256(text)


def test_variant_id_names_model_version_and_variant():
    assert variant_id("digits", 3, "int8-static") == "digits.v3.int8-static"
    with pytest.raises(InvalidInputError):
        variant_id("digits", 3, "int8/static")
