"""Commands run in this process against a service in memory behind the real REST endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from muster_controller.adapters.identity_x509.authenticator import StoreAuthenticator
from muster_controller.cli.app import run
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.testing_service import ServiceLab
from muster_controller.web.app import create_app

TOKEN = "secret-admin-token"


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Muster = Callable[..., Said]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ServiceLab]:
    made = ServiceLab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def muster(lab: ServiceLab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Muster]:
    fleet = lab.store.fleet()
    assert fleet is not None
    app = create_app(lab.service, StoreAuthenticator(lab.store, fleet.fleet_id, TOKEN))
    endpoint = RestEndpoint(app, "127.0.0.1", 0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(endpoint.start(), loop).result(10)
    monkeypatch.setenv("MUSTER_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MUSTER_TOKEN", TOKEN)
    monkeypatch.setenv("MUSTER_DATA", str(lab.folder / "nothing-here"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(lab.folder / "config"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(lab.folder)

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(list(arguments))
        found = capfd.readouterr()
        return Said(code, found.out, found.err)

    yield call
    app.state.stopping.set()
    asyncio.run_coroutine_threadsafe(endpoint.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
