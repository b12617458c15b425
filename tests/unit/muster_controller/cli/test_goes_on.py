"""What a controller that runs for weeks does now and then."""

from __future__ import annotations

import asyncio
import logging
import ssl

import pytest
from fastapi import FastAPI

from muster_controller.cli.controller import _survived
from muster_controller.cli.rest_endpoint import RestEndpoint
from muster_controller.testing_service import ServiceLab
from muster_protos.errors import MusterError, PermanentError, TemporaryError


@pytest.mark.parametrize(
    ("error", "has_trace"), [(TemporaryError("disk full"), False), (PermanentError("no"), True), (OSError("no"), True)]
)
def test_chore_that_fails_is_told_and_ends_nothing(
    caplog: pytest.LogCaptureFixture, error: MusterError | OSError, has_trace: bool
) -> None:
    def fail() -> None:
        raise error

    with caplog.at_level(logging.WARNING):
        _survived("cleaning", fail, 3600.0)
    assert [bool(record.exc_info) for record in caplog.records] == [has_trace]
    assert "cleaning failed, the next try comes in 3600 s" in caplog.messages[0].replace(";", ",")


async def test_rest_shows_a_new_certificate_without_a_restart(lab: ServiceLab) -> None:
    rest = RestEndpoint(FastAPI(), "127.0.0.1", 0, lab.authority.issue_host_certificate(["127.0.0.1"]))
    port = await rest.start()
    context = ssl.create_default_context(cadata=lab.authority.ca_pem().decode())
    seen = []
    try:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
            await writer.wait_closed()
            rest.renew_certificate(*lab.authority.issue_host_certificate(["127.0.0.1"]))
    finally:
        await rest.stop()
    assert seen[0] != seen[1]
