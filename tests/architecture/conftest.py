from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the source tree."""
    return Path(__file__).parents[2]
