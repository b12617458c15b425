from __future__ import annotations

import pytest

from muster_agent.address import host_and_port
from muster_protos.errors import InvalidInputError


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("grpcs://host", ("host", 8471)),
        ("grpcs://host:9", ("host", 9)),
        ("grpcs://[::1]:9", ("::1", 9)),
        ("grpcs://HOST.example:65535/path", ("host.example", 65535)),
    ],
)
def test_host_and_port_of_a_url(url: str, found: tuple[str, int]) -> None:
    assert host_and_port(url, "grpcs", 8471) == found


@pytest.mark.parametrize(
    "url", ["", "host", "host:9", "mqtts://host:9", "grpcs://:9", "grpcs://host:70000", "grpcs://[::1"]
)
def test_what_is_no_such_url_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(InvalidInputError, match="expected grpcs://HOST:8471, found "):
        host_and_port(url, "grpcs", 8471)


def test_without_a_default_the_port_must_be_there() -> None:
    assert host_and_port("https://host:8472", "https") == ("host", 8472)
    with pytest.raises(InvalidInputError, match="expected https://HOST:PORT, found "):
        host_and_port("https://host", "https")
