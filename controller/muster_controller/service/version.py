"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def product_version() -> str:
    try:
        return version("muster-edge")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"
