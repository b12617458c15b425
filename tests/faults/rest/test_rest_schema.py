"""schemathesis over the REST API of a live controller: no 5xx, nothing that its own description does not say.

Run by ``make test-rest``, which installs schemathesis in a venv of its own and names it in SCHEMATHESIS.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muster_controller.adapters.identity_x509 import StoreAuthenticator
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.testing_service import ServiceLab
from muster_controller.web.app import create_app

ADMIN = "admin-secret"
EXAMPLES = os.environ.get("MUSTER_REST_EXAMPLES", "8")
# A request that fits the schema may still name what does not exist, or what the service finds senseless.
NOT_CHECKED = "positive_data_acceptance"
# The stream never ends. The other one shares its path with POST .../{action}, which its Allow header says, truthfully.
LEFT_OUT = ("/v1/events/stream", "/v1/rollouts/{rollout}/rollback")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    lab = ServiceLab(tmp_path)
    lab.add_device("pi")
    lab.add_model()
    fleet = lab.store.fleet()
    assert fleet is not None
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    rest = RestEndpoint(create_app(lab.service, StoreAuthenticator(lab.store, fleet.fleet_id, ADMIN)), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{run(rest.start())}/v1/openapi.json"
    run(rest.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
    lab.close()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_rest_api_does_what_its_description_says(url: str, tmp_path: Path) -> None:
    program = os.environ.get("SCHEMATHESIS")
    if not program:
        pytest.skip("schemathesis is not installed here: make test-rest")
    found = subprocess.run(
        [
            *(program, "run", url, "-H", f"Authorization: Bearer {ADMIN}", "--checks", "all"),
            *(
                "--exclude-checks",
                NOT_CHECKED,
                *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
                "--seed",
                "1",
                "-w",
                "2",
            ),
            *("--phases", "examples,coverage,fuzzing", "-n", EXAMPLES, "--generation-database", "none"),
            *("--suppress-health-check", "all", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.stdout[-6_000:])
    assert found.returncode == 0, found.stdout[-20_000:]
