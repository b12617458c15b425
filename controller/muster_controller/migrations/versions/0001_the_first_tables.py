"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "decisions",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("policy_yaml", sa.Text(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("chosen", sa.LargeBinary(), nullable=True),
        sa.Column("ladder", sa.JSON(), nullable=False),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("nearest_miss", sa.Text(), nullable=False),
        sa.Column("slo", sa.LargeBinary(), nullable=True),
        sa.Column("is_emulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_decisions")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_decisions_decision_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_decisions_model_id_device_id"), "decisions", ["model_id", "device_id"], unique=False)
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("joined_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("certificate_serial", sa.Text(), nullable=False),
        sa.Column("public_key_sha256", sa.Text(), nullable=False),
        sa.Column("inventory", sa.LargeBinary(), nullable=False),
        sa.Column("presence", sa.String(length=16), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("last_seen_ns", sa.BigInteger(), nullable=False),
        sa.Column("is_revoked", sa.Boolean(), nullable=False),
        sa.Column("reported", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_devices")),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("from_variant_id", sa.Text(), nullable=False),
        sa.Column("to_variant_id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Float(precision=53), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_device_id_sequence"), "events", ["device_id", "sequence"], unique=False)
    op.create_index(op.f("ix_events_kind_sequence"), "events", ["kind", "sequence"], unique=False)
    op.create_table(
        "fleet",
        sa.Column("fleet_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name=op.f("pk_fleet")),
    )
    op.create_table(
        "loads",
        sa.Column("load_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("load_id", name=op.f("pk_loads")),
    )
    op.create_index(op.f("ix_loads_device_id_state"), "loads", ["device_id", "state"], unique=False)
    op.create_table(
        "models",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("evaluation", sa.LargeBinary(), nullable=True),
        sa.Column("evaluation_sha256", sa.String(length=64), nullable=True),
        sa.Column("is_labelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version", name=op.f("pk_models")),
    )
    op.create_table(
        "operations",
        sa.Column("operation_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress_ratio", sa.Float(precision=53), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("finished_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_operations")),
    )
    op.create_table(
        "policies",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("policy_yaml", sa.Text(), nullable=False),
        sa.Column("updated_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_policies")),
    )
    op.create_table(
        "records",
        sa.Column("record_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("variant_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("finished_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_records")),
    )
    op.create_index(op.f("ix_records_device_id"), "records", ["device_id"], unique=False)
    op.create_index(
        op.f("ix_records_model_id_model_version_device_id"),
        "records",
        ["model_id", "model_version", "device_id"],
        unique=False,
    )
    op.create_index(op.f("ix_records_run_id"), "records", ["run_id"], unique=False)
    op.create_table(
        "reports",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("rejected_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_reports")),
        sa.UniqueConstraint(
            "device_id",
            "request_id",
            "attempt",
            "sequence",
            name=op.f("uq_reports_device_id_request_id_attempt_sequence"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("waves", sa.JSON(), nullable=False),
        sa.Column("active_wave", sa.BigInteger(), nullable=False),
        sa.Column("deadline_s", sa.BigInteger(), nullable=False),
        sa.Column("error_threshold_ratio", sa.Float(precision=53), nullable=False),
        sa.Column("success_threshold_ratio", sa.Float(precision=53), nullable=False),
        sa.Column("pauses_after_wave", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name=op.f("pk_rollouts")),
    )
    op.create_index(op.f("ix_rollouts_model_id"), "rollouts", ["model_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.String(length=16), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("device_ids", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_model_id"), "runs", ["model_id"], unique=False)
    op.create_table(
        "telemetry",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("sample", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_telemetry")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_telemetry_at_ns"), "telemetry", ["at_ns"], unique=False)
    op.create_index(op.f("ix_telemetry_device_id_at_ns"), "telemetry", ["device_id", "at_ns"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("uses_left", sa.BigInteger(), nullable=False),
        sa.Column("is_revoked", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_tokens_secret_sha256")),
    )
    op.create_table(
        "deployments",
        sa.Column("deployment_id", sa.String(length=64), nullable=False),
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("grant", sa.LargeBinary(), nullable=False),
        sa.Column("wave", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("updated_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("started_at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollouts.rollout_id"], name=op.f("fk_deployments_rollout_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", name=op.f("pk_deployments")),
    )
    op.create_index(op.f("ix_deployments_device_id"), "deployments", ["device_id"], unique=False)
    op.create_index(op.f("ix_deployments_model_id"), "deployments", ["model_id"], unique=False)
    op.create_index(op.f("ix_deployments_rollout_id"), "deployments", ["rollout_id"], unique=False)
    op.create_table(
        "desired",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.device_id"], name=op.f("fk_desired_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_desired")),
    )
    op.create_table(
        "device_labels",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.device_id"], name=op.f("fk_device_labels_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "key", name=op.f("pk_device_labels")),
    )
    op.create_index(op.f("ix_device_labels_key_value"), "device_labels", ["key", "value"], unique=False)
    op.create_table(
        "pushes",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("variant_ids", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.device_id"], name=op.f("fk_pushes_device_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_id", "model_version"],
            ["models.model_id", "models.version"],
            name=op.f("fk_pushes_model_id_model_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("device_id", "model_id", "model_version", name=op.f("pk_pushes")),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_requests_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_device_id_state"), "requests", ["device_id", "state"], unique=False)
    op.create_index(op.f("ix_requests_model_id"), "requests", ["model_id"], unique=False)
    op.create_index(op.f("ix_requests_run_id"), "requests", ["run_id"], unique=False)
    op.create_table(
        "variants",
        sa.Column("variant_id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64), nullable=False),
        sa.Column("golden_sha256", sa.String(length=64), nullable=True),
        sa.Column("evaluation_sha256", sa.String(length=64), nullable=True),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("is_kept", sa.Boolean(), nullable=False),
        sa.Column("dropped_reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "model_version"],
            ["models.model_id", "models.version"],
            name=op.f("fk_variants_model_id_model_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("variant_id", name=op.f("pk_variants")),
    )
    op.create_index(op.f("ix_variants_model_id_model_version"), "variants", ["model_id", "model_version"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_variants_model_id_model_version"), table_name="variants")
    op.drop_table("variants")
    op.drop_index(op.f("ix_requests_run_id"), table_name="requests")
    op.drop_index(op.f("ix_requests_model_id"), table_name="requests")
    op.drop_index(op.f("ix_requests_device_id_state"), table_name="requests")
    op.drop_table("requests")
    op.drop_table("pushes")
    op.drop_index(op.f("ix_device_labels_key_value"), table_name="device_labels")
    op.drop_table("device_labels")
    op.drop_table("desired")
    op.drop_index(op.f("ix_deployments_rollout_id"), table_name="deployments")
    op.drop_index(op.f("ix_deployments_model_id"), table_name="deployments")
    op.drop_index(op.f("ix_deployments_device_id"), table_name="deployments")
    op.drop_table("deployments")
    op.drop_table("tokens")
    op.drop_index(op.f("ix_telemetry_device_id_at_ns"), table_name="telemetry")
    op.drop_index(op.f("ix_telemetry_at_ns"), table_name="telemetry")
    op.drop_table("telemetry")
    op.drop_index(op.f("ix_runs_model_id"), table_name="runs")
    op.drop_table("runs")
    op.drop_index(op.f("ix_rollouts_model_id"), table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_table("reports")
    op.drop_index(op.f("ix_records_run_id"), table_name="records")
    op.drop_index(op.f("ix_records_model_id_model_version_device_id"), table_name="records")
    op.drop_index(op.f("ix_records_device_id"), table_name="records")
    op.drop_table("records")
    op.drop_table("policies")
    op.drop_table("operations")
    op.drop_table("models")
    op.drop_index(op.f("ix_loads_device_id_state"), table_name="loads")
    op.drop_table("loads")
    op.drop_table("fleet")
    op.drop_index(op.f("ix_events_kind_sequence"), table_name="events")
    op.drop_index(op.f("ix_events_device_id_sequence"), table_name="events")
    op.drop_table("events")
    op.drop_table("devices")
    op.drop_index(op.f("ix_decisions_model_id_device_id"), table_name="decisions")
    op.drop_table("decisions")
