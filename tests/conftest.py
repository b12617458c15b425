from __future__ import annotations

import os
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_protos.errors import MissingExtraError

_REAL_TIME = tuple(str(Path(__file__).parent / part) for part in ("contract/link", "integration", "e2e"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes and sockets get a second try: the machine has other users. The summary names them."""
    for item in items:
        if str(item.path).startswith(_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """mosquitto's path. Without it a test is skipped, but fails where CI or MUSTER_REQUIRE_MOSQUITTO is set."""
    try:
        return find_mosquitto()
    except MissingExtraError as error:
        if os.environ.get("CI") or os.environ.get("MUSTER_REQUIRE_MOSQUITTO"):
            raise
        pytest.skip(str(error))
