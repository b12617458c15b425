from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_controller.adapters.broker_mosquitto import find_mosquitto
from muster_protos.errors import MissingExtraError

_TESTS = Path(__file__).parent
_REAL_TIME = tuple(str(_TESTS / part) for part in ("contract/link", "integration", "e2e", "faults/network"))
_SLOW_S = 300  # for slow and faults tests that name no limit of their own; pyproject.toml has that of the others
_GRACE_S = 60
_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(2)  # the real one: while a test runs, pytest keeps what is written


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes and sockets get a second try: the machine has other users. The summary names them."""
    for item in items:
        if str(item.path).startswith(_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1))
        is_slow = item.get_closest_marker("slow") or item.get_closest_marker("faults")
        if is_slow and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_S))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The last resort behind pytest-timeout, whose signal a thread stuck outside Python never sees."""
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0] if marker else item.config.getini("timeout"))
    tries = 2 if item.get_closest_marker("flaky") else 1
    faulthandler.dump_traceback_later(tries * limit_s + _GRACE_S, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """mosquitto's path. Without it a test is skipped, but fails where CI or MUSTER_REQUIRE_MOSQUITTO is set."""
    try:
        return find_mosquitto()
    except MissingExtraError as error:
        if os.environ.get("CI") or os.environ.get("MUSTER_REQUIRE_MOSQUITTO"):
            raise
        pytest.skip(str(error))
