import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_protos.errors import InvalidInputError
from muster_protos.join_link import JoinLink, parse_join_link

FINGERPRINT = "0123456789abcdef" * 4
SECRET = "A-b_9" * 6
GOOD = f"https://10.0.0.5:8472#MST1.{SECRET}.{FINGERPRINT}"


def test_line_says_host_port_secret_and_fingerprint() -> None:
    assert parse_join_link(GOOD) == JoinLink("10.0.0.5", 8472, SECRET, FINGERPRINT)


def test_pasted_space_around_a_line_does_no_harm() -> None:
    assert parse_join_link(f"  {GOOD}\n").port == 8472


def test_port_may_be_left_out() -> None:
    assert parse_join_link(GOOD.replace(":8472", "")).port == 8472


@given(
    st.sampled_from(["10.0.0.5", "pi.local", "localhost", "fd00::7", "::1"]),
    st.integers(1, 65535),
    st.text("abcXYZ019_-", min_size=16, max_size=128),
)
def test_every_link_reads_back(host: str, port: int, secret: str) -> None:
    link = JoinLink(host, port, secret, FINGERPRINT)
    assert parse_join_link(link.text()) == link


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        GOOD.replace("https", "http"),
        GOOD.replace("https://10.0.0.5:8472", ""),
        GOOD.partition("#")[0],
        GOOD.replace("MST1", "MST2"),
        GOOD[:-1],
        GOOD + "0",
        GOOD.upper(),
        GOOD.replace(SECRET, "short"),
        GOOD.replace(SECRET, SECRET + "."),
        GOOD.replace(SECRET, "x" * 129),
        GOOD.replace("8472", "84720000"),
        GOOD.replace("8472", "port"),
        GOOD.replace("#", "/path#"),
        GOOD.replace("#", "?a=b#"),
        GOOD.replace("10.0.0.5", "user@10.0.0.5"),
        GOOD.replace("10.0.0.5", "[::1"),
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(InvalidInputError, match="expected a join link"):
        parse_join_link(line)


@given(st.text(max_size=200))
def test_any_text_is_a_link_or_a_clear_error(line: str) -> None:
    with contextlib.suppress(InvalidInputError):
        parse_join_link(line)


def test_secret_shows_neither_in_repr_nor_in_errors() -> None:
    assert SECRET not in repr(parse_join_link(GOOD))
    with pytest.raises(InvalidInputError) as caught:
        parse_join_link(GOOD[:-1])
    assert SECRET not in str(caught.value)
