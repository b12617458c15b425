"""/v1/pushes, /v1/benchmarks, /v1/records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Response

from muster_controller.core.entities import BenchmarkRun, DeviceRequest
from muster_controller.service.bench import RunOrder
from muster_controller.service.progress import DeviceProgress
from muster_controller.service.push import PushStatus
from muster_controller.web.bodies import BenchmarkBody, PushBody
from muster_controller.web.replies import Items, items, page, reply
from muster_controller.web.scope import Cursor, LabelsOf, Limit, ServiceOf
from muster_protos.errors import InvalidInputError
from muster_protos.model import BenchmarkRecord, Tier

router = APIRouter(tags=["benchmarks"])


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, its requests and how far the running ones are."""

    run: BenchmarkRun
    requests: tuple[DeviceRequest, ...]
    progress: tuple[DeviceProgress, ...]


def tier_of(text: str) -> Tier:
    for tier in Tier:
        if tier.value == text and tier is not Tier.UNSPECIFIED:
            return tier
    raise InvalidInputError(f'expected a tier of demo, quick, standard or certify, found "{text[:40]}"')


@router.post("/pushes", response_model=Items[PushStatus], status_code=202)
def push(service: ServiceOf, body: PushBody) -> Response:
    model = service.models.get(body.model)
    variants = service.models.kept(model, tuple(body.variants))
    devices = service.devices.resolve(body.devices, body.labels)
    found = service.pushes.push(model, variants, devices)
    return reply({"items": found, "next_cursor": ""}, 202)


@router.get("/pushes", response_model=Items[PushStatus])
def push_status(
    service: ServiceOf,
    labels: LabelsOf,
    model: str,
    variant: Annotated[list[str] | None, Query()] = None,
    device: Annotated[list[str] | None, Query()] = None,
) -> Response:
    variants = service.models.kept(service.models.get(model), tuple(variant or ()))
    return items(service.pushes.status(variants, service.devices.resolve(device or [], labels)))


@router.post("/benchmarks", response_model=RunView, status_code=202)
def start_run(service: ServiceOf, body: BenchmarkBody) -> Response:
    model = service.models.get(body.model)
    order = RunOrder(
        tier=tier_of(body.tier),
        percentiles=tuple(body.percentiles),
        threads=tuple(body.threads),
        runtimes=tuple(body.runtimes),
        providers=tuple(body.providers),
        seed=body.seed,
    )
    variants = service.models.kept(model, tuple(body.variants))
    run = service.bench.start(model, variants, service.devices.resolve(body.devices, body.labels), order)
    return reply(_view(service, run), 202)


@router.get("/benchmarks", response_model=Items[BenchmarkRun])
def list_runs(service: ServiceOf, cursor: Cursor = "", limit: Limit = 100) -> Response:
    return page(service.bench.list(cursor, limit))


@router.get("/benchmarks/{run}", response_model=RunView)
def get_run(service: ServiceOf, run: str) -> Response:
    return reply(_view(service, service.bench.get(run)))


@router.delete("/benchmarks/{run}", response_model=RunView)
def cancel_run(service: ServiceOf, run: str) -> Response:
    """Ask no more of the devices; what they measured stays."""
    service.bench.cancel(run)
    return reply(_view(service, service.bench.get(run)))


@router.get("/records", response_model=Items[BenchmarkRecord])
def list_records(
    service: ServiceOf,
    model: str = "",
    device: str = "",
    run: str = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Response:
    return page(service.bench.list_records(model, device, run, cursor, limit))


@router.get("/records/{record}", response_model=BenchmarkRecord)
def get_record(service: ServiceOf, record: str) -> Response:
    return reply(service.bench.record(record))


def _view(service: ServiceOf, run: BenchmarkRun) -> RunView:
    requests = service.bench.requests(run.run_id)
    ids = frozenset(entry.request.request_id for entry in requests)
    return RunView(run, requests, service.progress.list(ids))
