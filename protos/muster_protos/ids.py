"""Ids and the one grammar that all of them obey."""

from __future__ import annotations

import re
from typing import NewType

from muster_protos.errors import InvalidInputError

DeviceId = NewType("DeviceId", str)
ModelId = NewType("ModelId", str)
VariantId = NewType("VariantId", str)
Sha256 = NewType("Sha256", str)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_id(text: str, what: str) -> str:
    """Return ``text`` when it is a valid id.

    Raises:
        InvalidInputError: it is empty, longer than 64 characters or has characters outside ``[A-Za-z0-9._-]``.
    """
    if not _ID.fullmatch(text):
        raise InvalidInputError(
            f"expected a {what} of 1 to 64 letters, digits, '.', '_' or '-' that starts with a letter or digit, "
            f"found {text[:80]!r}"
        )
    return text


def check_sha256(text: str) -> Sha256:
    """Return ``text`` when it is a lower-case hex sha256.

    Raises:
        InvalidInputError: it is not.
    """
    if not _SHA256.fullmatch(text):
        raise InvalidInputError(f"expected a sha256 of 64 lower-case hex digits, found {text[:80]!r}")
    return Sha256(text)


def variant_id(model_id: str, version: int, name: str) -> VariantId:
    """The id of a variant: ``<model>.v<version>.<name>``."""
    return VariantId(check_id(f"{model_id}.v{version}.{name}", "variant id"))
