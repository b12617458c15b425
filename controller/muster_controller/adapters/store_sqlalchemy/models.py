"""Models, their variants, and the policies that decide for them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, insert, select, update

from muster_controller.adapters.store_sqlalchemy.paging import change_one, one, page_of
from muster_controller.adapters.store_sqlalchemy.rows import RowShape
from muster_controller.adapters.store_sqlalchemy.tables import (
    DEPLOYMENTS,
    DEVICES,
    MODELS,
    POLICIES,
    PUSHES,
    REQUESTS,
    VARIANTS,
)
from muster_controller.adapters.store_sqlalchemy.transactions import Transactions
from muster_controller.core.deployments import in_force
from muster_controller.core.entities import Deployment, Model, ModelPolicy, RequestState, Variant
from muster_controller.ports import Page
from muster_protos import codec
from muster_protos.errors import ConflictError, NotFoundError
from muster_protos.model import SignedEnvelope

_MODEL = RowShape(Model)
_VARIANT = RowShape(Variant)
_POLICY = RowShape(ModelPolicy)
_DEPLOYMENT = RowShape(Deployment)


class ModelRows(Transactions):
    """Tables ``models``, ``variants`` and ``policies``."""

    def add_model(self, model: Model, baseline: Variant) -> None:
        row = _MODEL.row(model) | {"evaluation_sha256": model.evaluation.sha256 if model.evaluation else None}
        with self._writing() as connection:
            mine = (MODELS.c.model_id == model.model_id) & (MODELS.c.version == model.version)
            if connection.execute(select(MODELS.c.model_id).where(mine)).first() is not None:
                raise ConflictError(f"expected a new version, found {model.model_id}:{model.version} in the store")
            connection.execute(insert(MODELS).values(row))
            connection.execute(insert(VARIANTS).values(_variant_row(baseline)))

    def get_model(self, model_id: str, version: int | None = None) -> Model:
        query = select(MODELS).where(MODELS.c.model_id == model_id).order_by(MODELS.c.version.desc()).limit(1)
        name = model_id if version is None else f"{model_id}:{version}"
        if version is not None:
            query = query.where(MODELS.c.version == version)
        with self._reading() as connection:
            return _MODEL.value(one(connection, query, f"model {name!r}"))

    def list_models(self, cursor: str = "", limit: int = 100) -> Page[Model]:
        other = MODELS.alias()
        newest = select(func.max(other.c.version)).where(other.c.model_id == MODELS.c.model_id).scalar_subquery()
        query = select(MODELS).where(MODELS.c.version == newest)
        with self._reading() as connection:
            return page_of(connection, query, MODELS.c.model_id, cursor, limit, _MODEL.value)

    def remove_model(self, model_id: str) -> None:
        with self._writing() as connection:
            if connection.execute(select(MODELS.c.model_id).where(MODELS.c.model_id == model_id)).first() is None:
                raise NotFoundError(f"expected a known model, found none of the id {model_id!r}")
            query = (
                select(DEPLOYMENTS)
                .join(DEVICES, DEVICES.c.device_id == DEPLOYMENTS.c.device_id)
                .where(DEPLOYMENTS.c.model_id == model_id, DEVICES.c.is_revoked.is_(False))
            )
            serving = in_force(_DEPLOYMENT.value(row) for row in connection.execute(query).mappings())
            if serving:
                raise ConflictError(
                    f"model {model_id!r} is served by {len(serving)} device(s), the first is "
                    f"{serving[0].device_id!r}: roll it back before you remove it"
                )
            for table in (POLICIES, PUSHES, VARIANTS, MODELS):
                connection.execute(delete(table).where(table.c.model_id == model_id))
            connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.model_id == model_id, REQUESTS.c.state == RequestState.OPEN.value)
                .values(state=RequestState.CANCELLED.value, reason="the model was removed")
            )

    def add_variant(self, variant: Variant) -> None:
        with self._writing() as connection:
            connection.execute(insert(VARIANTS).values(_variant_row(variant)))

    def get_variant(self, variant_id: str) -> Variant:
        with self._reading() as connection:
            query = select(VARIANTS).where(VARIANTS.c.variant_id == variant_id)
            return _VARIANT.value(one(connection, query, f"variant {variant_id!r}"))

    def list_variants(self, model_id: str, version: int) -> tuple[Variant, ...]:
        query = select(VARIANTS).where(VARIANTS.c.model_id == model_id, VARIANTS.c.model_version == version)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(VARIANTS.c.variant_id)).mappings().all()
        return tuple(_VARIANT.value(row) for row in rows)

    def put_variant_envelope(self, variant_id: str, envelope: SignedEnvelope) -> None:
        statement = update(VARIANTS).where(VARIANTS.c.variant_id == variant_id)
        with self._writing() as connection:
            change_one(connection, statement.values(envelope=codec.encode(envelope)), f"variant {variant_id!r}")

    def put_variant_verdict(self, variant_id: str, is_kept: bool, dropped_reason: str) -> None:
        statement = update(VARIANTS).where(VARIANTS.c.variant_id == variant_id)
        with self._writing() as connection:
            values = statement.values(is_kept=is_kept, dropped_reason=dropped_reason)
            change_one(connection, values, f"variant {variant_id!r}")

    def referenced_sha256s(self) -> frozenset[str]:
        # A deployment names variants, and variants go only with their model, which a deployment in force protects.
        columns = (
            MODELS.c.evaluation_sha256,
            VARIANTS.c.artifact_sha256,
            VARIANTS.c.golden_sha256,
            VARIANTS.c.evaluation_sha256,
        )
        with self._reading() as connection:
            found = [connection.execute(select(column).distinct()).scalars().all() for column in columns]
        return frozenset(sha256 for column in found for sha256 in column if sha256)

    def put_policy(self, policy: ModelPolicy) -> None:
        with self._writing() as connection:
            connection.execute(delete(POLICIES).where(POLICIES.c.model_id == policy.model_id))
            connection.execute(insert(POLICIES).values(_POLICY.row(policy)))

    def get_policy(self, model_id: str) -> ModelPolicy | None:
        with self._reading() as connection:
            row = connection.execute(select(POLICIES).where(POLICIES.c.model_id == model_id)).mappings().one_or_none()
        return None if row is None else _POLICY.value(row)

    def list_policies(self) -> tuple[ModelPolicy, ...]:
        with self._reading() as connection:
            rows = connection.execute(select(POLICIES).order_by(POLICIES.c.model_id)).mappings().all()
        return tuple(_POLICY.value(row) for row in rows)

    def remove_policy(self, model_id: str) -> None:
        with self._writing() as connection:
            connection.execute(delete(POLICIES).where(POLICIES.c.model_id == model_id))


def _variant_row(variant: Variant) -> dict[str, Any]:
    manifest = variant.manifest
    return _VARIANT.row(variant) | {
        "variant_id": manifest.variant_id,
        "model_id": manifest.model_id,
        "model_version": manifest.model_version,
        "artifact_sha256": manifest.artifact.sha256,
        "golden_sha256": manifest.golden.sha256 if manifest.golden else None,
        "evaluation_sha256": manifest.evaluation.sha256 if manifest.evaluation else None,
    }
