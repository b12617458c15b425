from __future__ import annotations

import os

import pytest

from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_protos.errors import MissingExtraError


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """mosquitto's path. Without it a test is skipped, but fails where CI or MUSTER_REQUIRE_MOSQUITTO is set."""
    try:
        return find_mosquitto()
    except MissingExtraError as error:
        if os.environ.get("CI") or os.environ.get("MUSTER_REQUIRE_MOSQUITTO"):
            raise
        pytest.skip(str(error))
