"""/v1/models, /v1/variants, /v1/uploads, /v1/operations."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from muster_controller.core.entities import Model, Operation, Variant
from muster_controller.service.models import NewModel, Origin
from muster_controller.web.bodies import CompressBody, ModelBody, VariantBody
from muster_controller.web.replies import Items, items, page, reply
from muster_controller.web.scope import Cursor, Limit, ServiceOf

router = APIRouter(tags=["models"])


@dataclass(frozen=True, slots=True)
class Received:
    """A file that has arrived; name it in the request that uses it."""

    upload_id: str
    size_bytes: int


@router.post("/uploads", response_model=Received, status_code=201)
async def upload(service: ServiceOf, request: Request) -> Response:
    """The raw bytes of one file as the request's body (application/octet-stream)."""
    with service.uploads.receive() as receiving:
        async for chunk in request.stream():
            await run_in_threadpool(receiving.write, chunk)
    return reply(Received(receiving.upload_id, receiving.size_bytes), 201)


@router.get("/models", response_model=Items[Model])
def list_models(service: ServiceOf, cursor: Cursor = "", limit: Limit = 100) -> Response:
    return page(service.models.list(cursor, limit))


@router.post("/models", response_model=Operation, status_code=202)
def add_model(service: ServiceOf, body: ModelBody) -> Response:
    order = NewModel(
        model_id=body.name,
        source_upload=body.source_upload,
        data_upload=body.data_upload,
        builtin_data=body.builtin_data,
        metric=body.metric,
        labels=tuple(body.class_labels),
        source=body.source,
    )
    return reply(service.models.add(order), 202)


@router.get("/models/{model}", response_model=Model)
def get_model(service: ServiceOf, model: str) -> Response:
    return reply(service.models.get(model))


@router.delete("/models/{model}", status_code=204)
def remove_model(service: ServiceOf, model: str) -> Response:
    service.remove_model(model)
    return Response(status_code=204)


@router.get("/models/{model}/variants", response_model=Items[Variant])
def list_variants(service: ServiceOf, model: str) -> Response:
    return items(service.models.variants(service.models.get(model)))


@router.post("/models/{model}/variants", response_model=Operation, status_code=202)
def add_variant(service: ServiceOf, model: str, body: VariantBody) -> Response:
    origin = Origin(body.parent, body.recipe)
    return reply(service.models.add_variant(model, body.name, body.source_upload, body.force, origin), 202)


@router.post("/models/{model}/compress", response_model=Operation, status_code=202)
def compress(service: ServiceOf, model: str, body: CompressBody) -> Response:
    return reply(service.models.compress(model, body.recipe, body.floor), 202)


@router.get("/variants/{variant}", response_model=Variant)
def get_variant(service: ServiceOf, variant: str) -> Response:
    return reply(service.models.variant(variant))


@router.get("/variants/{variant}/artifact", response_class=FileResponse)
def get_artifact(service: ServiceOf, variant: str) -> Response:
    """The variant's file; ranges are honoured."""
    manifest = service.models.variant(variant).manifest
    name = f"{manifest.variant_id}.{manifest.format.value}"
    return FileResponse(service.artifact_path(manifest.artifact.sha256), filename=name)


@router.get("/operations", response_model=Items[Operation])
def list_operations(service: ServiceOf, cursor: Cursor = "", limit: Limit = 100) -> Response:
    return page(service.operations.list(cursor, limit))


@router.get("/operations/{operation}", response_model=Operation)
def get_operation(service: ServiceOf, operation: str) -> Response:
    return reply(service.operations.get(operation))
