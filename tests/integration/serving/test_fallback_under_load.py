"""The whole device side of a fallback: load child, HTTP, queue, guard, real models; a declared slowdown."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from muster_agent.load_process import LoadSpec, run_load
from muster_agent.serving_process import LocalListener, ServingOptions, ServingProcess
from muster_protos.model import Event, LoadPhase, LoadRequest, LoadResult, LocalGrant, LocalReady

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def replay(listener: LocalListener, sink: Any, grant: LocalGrant, slowdown: float) -> LoadResult:
    process = ServingProcess(listener, "net", ServingOptions(slowdown_ratio=slowdown))
    process.grant(grant)
    process.start()
    name = grant.grant.deployment_id
    ready = sink.wait_for(lambda message: isinstance(message, LocalReady) and message.deployment_id == name)
    largest_hz = 1e9 / grant.grant.ladder[0].p50_ns
    phases = tuple(LoadPhase(share * largest_hz, ms) for share, ms in ((0.2, 3000), (1.6, 5000), (0.2, 12000)))
    request = LoadRequest("l", 1, "net", phases, 1)
    spec = LoadSpec(request, ready.http_port, grant.grant.slo.latency_ns, grant.variants[-1].golden_path)
    try:
        return run_load(spec, threading.Event())
    finally:
        process.stop("the replay is over")


def test_the_ladder_saves_what_the_largest_rung_alone_misses(
    listener: LocalListener, sink: Any, measured_grant: tuple[LocalGrant, float]
) -> None:
    grant, slowdown = measured_grant
    alone = dataclasses.replace(grant.grant, ladder=grant.grant.ladder[:1], deployment_id="alone")
    largest = replay(listener, sink, dataclasses.replace(grant, grant=alone, variants=grant.variants[:1]), slowdown)
    fallback = replay(listener, sink, grant, slowdown)
    moves = [message for message in sink.said if isinstance(message, Event) and message.kind == "rung.changed"]
    assert fallback.failed == 0
    assert fallback.slo_missed < 0.05 * fallback.offered  # < 1 % on a quiet machine: benchmarks/fallback.py
    assert largest.slo_missed > 0.05 * largest.offered
    assert set(fallback.answered_by) == {"net.v1.wide", "net.v1.narrow"}
    assert {"down", "up"} <= {move.direction for move in moves}
    assert all(move.reason for move in moves)
