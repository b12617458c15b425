"""Host and port out of a URL that somebody typed or sent."""

from __future__ import annotations

from urllib.parse import urlsplit

from muster_protos.errors import InvalidInputError

_SHOWN_CHARACTERS = 200


def host_and_port(url: str, scheme: str, default_port: int | None = None) -> tuple[str, int]:
    """Of ``scheme://HOST[:PORT]``; without a default the port must be there.

    Raises:
        InvalidInputError: not such a URL.
    """
    expected = f"expected {scheme}://HOST:{default_port or 'PORT'}, found {url[:_SHOWN_CHARACTERS]!r}"
    try:
        parts = urlsplit(url)
        port = parts.port or default_port
    except ValueError as error:
        raise InvalidInputError(expected) from error
    if parts.scheme != scheme or not parts.hostname or port is None:
        raise InvalidInputError(expected)
    return parts.hostname, port
