import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_protos.errors import InvalidInputError
from muster_protos.join_link import DEFAULT_PORT, JoinLink, parse_join_link

_SECRET = "s3cret_-s3cret_-s3cret"
_TOKEN = f"MST1.{_SECRET}.{'a' * 64}"
_WORD = "abcdefghijklmnopqrstuvwxyz0123456789"


@given(
    st.sampled_from(["127.0.0.1", "::1", "fe80::1", "box", "box.lan"]),
    st.integers(1, 65535),
    st.text(f"{_WORD}_-", min_size=16, max_size=128),
    st.binary(min_size=32, max_size=32),
)
def test_a_line_is_read_as_it_was_written(host, port, secret, fingerprint):
    link = JoinLink(host, port, secret, fingerprint.hex())
    assert parse_join_link(link.text()) == link
    assert parse_join_link(f"  {link.text()}\n") == link


def test_the_port_may_be_left_out():
    assert parse_join_link(f"https://box#{_TOKEN}").port == DEFAULT_PORT


@pytest.mark.parametrize(
    "line",
    [
        "",
        "box:8472",
        f"http://box:8472#{_TOKEN}",
        f"https://#{_TOKEN}",
        f"https://box:port#{_TOKEN}",
        f"https://box:99999#{_TOKEN}",
        f"https://[::1#{_TOKEN}",
        f"https://user@box#{_TOKEN}",
        f"https://box/path#{_TOKEN}",
        f"https://box?q#{_TOKEN}",
        "https://box:8472",
        f"https://box#MST2.{_SECRET}.{'a' * 64}",
        f"https://box#MST1.{_SECRET}.{'a' * 63}",
        f"https://box#MST1.{_SECRET}.{'A' * 64}",
        f"https://box#MST1.short.{'a' * 64}",
    ],
)
def test_a_broken_line_is_refused_without_repeating_the_secret(line):
    with pytest.raises(InvalidInputError, match="expected a join link like") as refused:
        parse_join_link(line)
    assert _SECRET not in str(refused.value)


def test_the_secret_is_not_in_what_a_log_would_show():
    assert _SECRET not in repr(parse_join_link(f"https://box#{_TOKEN}"))
    assert _SECRET not in str(parse_join_link(f"https://box#{_TOKEN}"))
