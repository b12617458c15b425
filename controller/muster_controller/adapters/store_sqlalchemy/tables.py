"""The tables of the store. A change here needs a revision in ``migrations/versions``; a test holds both together.

Columns bear the names of the dataclass fields. What is searched by is a column of its own; nested contract values are
codec bytes (unknown fields never hurt), lists and mappings are JSON. Times are ns since 1970.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _position(name: str) -> Column[int]:
    """A number that the database hands out in order and never twice."""
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def _id(name: str, *, is_key: bool = False, is_indexed: bool = False) -> Column[str]:
    return Column(name, String(64), primary_key=is_key, index=is_indexed, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


FLEET = Table(
    "fleet", METADATA, _id("fleet_id", is_key=True), _text("name"), _number("epoch"), _number("created_at_ns")
)

TOKENS = Table(
    "tokens",
    METADATA,
    _id("token_id", is_key=True),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    _number("created_at_ns"),
    _number("expires_at_ns"),
    _number("uses_left"),
    Column("is_revoked", Boolean, nullable=False),
    _text("note"),
)

DEVICES = Table(
    "devices",
    METADATA,
    _id("device_id", is_key=True),
    _text("name"),
    _number("joined_at_ns"),
    _text("certificate_serial"),
    _text("public_key_sha256"),
    Column("inventory", LargeBinary, nullable=False),
    Column("presence", String(16), nullable=False),
    _text("link"),
    _number("last_seen_ns"),
    Column("is_revoked", Boolean, nullable=False),
    Column("reported", LargeBinary),
    Column("replaced_at_ns", BigInteger, nullable=False, server_default="0"),
    Column("cloned_at_ns", BigInteger, nullable=False, server_default="0"),
    Column("clock_offset_ns", BigInteger, nullable=False, server_default="0"),
)

DEVICE_LABELS = Table(
    "device_labels",
    METADATA,
    Column("device_id", ForeignKey("devices.device_id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    _text("value"),
    Index(None, "key", "value"),
)

MODELS = Table(
    "models",
    METADATA,
    _id("model_id", is_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("signature", LargeBinary, nullable=False),
    _number("created_at_ns"),
    _text("source"),
    Column("evaluation", LargeBinary),
    Column("evaluation_sha256", String(64)),
    Column("is_labelled", Boolean, nullable=False),
)

VARIANTS = Table(
    "variants",
    METADATA,
    _id("variant_id", is_key=True),
    _id("model_id"),
    _number("model_version"),
    Column("artifact_sha256", String(64), nullable=False),
    Column("golden_sha256", String(64)),
    Column("evaluation_sha256", String(64)),
    Column("manifest", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("is_kept", Boolean, nullable=False),
    _text("dropped_reason"),
    ForeignKeyConstraint(["model_id", "model_version"], ["models.model_id", "models.version"], ondelete="CASCADE"),
    Index(None, "model_id", "model_version"),
)

PUSHES = Table(
    "pushes",
    METADATA,
    Column("device_id", ForeignKey("devices.device_id", ondelete="CASCADE"), primary_key=True),
    _id("model_id", is_key=True),
    Column("model_version", BigInteger, primary_key=True, autoincrement=False),
    Column("variant_ids", JSON, nullable=False),
    ForeignKeyConstraint(["model_id", "model_version"], ["models.model_id", "models.version"], ondelete="CASCADE"),
)

DESIRED = Table(
    "desired",
    METADATA,
    Column("device_id", ForeignKey("devices.device_id", ondelete="CASCADE"), primary_key=True),
    _number("epoch"),
    _number("version"),
    Column("content_sha256", String(64), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)

RUNS = Table(
    "runs",
    METADATA,
    _id("run_id", is_key=True),
    _id("model_id", is_indexed=True),
    _number("model_version"),
    Column("tier", String(16), nullable=False),
    _number("created_at_ns"),
    Column("device_ids", JSON, nullable=False),
)

REQUESTS = Table(
    "requests",
    METADATA,
    _id("request_id", is_key=True),
    Column("run_id", ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False, index=True),
    _id("device_id"),
    _id("model_id", is_indexed=True),
    _number("model_version"),
    _number("attempt"),
    Column("request", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    _text("reason"),
    Index(None, "device_id", "state"),
)

REPORTS = Table(
    "reports",
    METADATA,
    _position("position"),
    _id("device_id"),
    _id("request_id"),
    _number("attempt"),
    _number("sequence"),
    Column("payload", LargeBinary, nullable=False),
    _number("received_at_ns"),
    _text("rejected_reason"),
    UniqueConstraint("device_id", "request_id", "attempt", "sequence"),
    sqlite_autoincrement=True,
)

RECORDS = Table(
    "records",
    METADATA,
    _id("record_id", is_key=True),
    _id("device_id"),
    _id("request_id"),
    _id("run_id", is_indexed=True),
    _id("model_id"),
    _number("model_version"),
    _id("variant_id"),
    Column("state", String(16), nullable=False),
    _number("finished_at_ns"),
    Column("record", LargeBinary, nullable=False),
    Column("arrival", BigInteger, nullable=False, server_default="0"),
    Index(None, "arrival"),
    Index(None, "model_id", "model_version", "device_id"),
    Index(None, "device_id"),
)

LOADS = Table(
    "loads",
    METADATA,
    _id("load_id", is_key=True),
    _id("device_id"),
    Column("request", LargeBinary, nullable=False),
    _number("created_at_ns"),
    Column("state", String(16), nullable=False),
    _text("reason"),
    Column("result", LargeBinary),
    Index(None, "device_id", "state"),
)

POLICIES = Table("policies", METADATA, _id("model_id", is_key=True), _text("policy_yaml"), _number("updated_at_ns"))

DECISIONS = Table(
    "decisions",
    METADATA,
    _position("position"),
    Column("decision_id", String(64), nullable=False, unique=True),
    _id("device_id"),
    _id("model_id"),
    _number("model_version"),
    _text("policy_yaml"),
    _number("created_at_ns"),
    Column("chosen", LargeBinary),
    Column("ladder", JSON, nullable=False),
    Column("candidates", JSON, nullable=False),
    _text("nearest_miss"),
    Column("slo", LargeBinary),
    Column("is_emulated", Boolean, nullable=False),
    Index(None, "model_id", "device_id"),
    sqlite_autoincrement=True,
)

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    _id("rollout_id", is_key=True),
    _id("model_id", is_indexed=True),
    _number("model_version"),
    Column("state", String(16), nullable=False),
    _text("reason"),
    _number("created_at_ns"),
    Column("waves", JSON, nullable=False),
    _number("active_wave"),
    _number("deadline_s"),
    Column("error_threshold_ratio", Float(53), nullable=False),
    Column("success_threshold_ratio", Float(53), nullable=False),
    Column("pauses_after_wave", Boolean, nullable=False),
)

DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    _id("deployment_id", is_key=True),
    Column("rollout_id", ForeignKey("rollouts.rollout_id", ondelete="CASCADE"), nullable=False, index=True),
    _id("device_id", is_indexed=True),
    _id("model_id", is_indexed=True),
    _number("model_version"),
    _id("decision_id"),
    Column("grant", LargeBinary, nullable=False),
    _number("wave"),
    Column("state", String(16), nullable=False),
    _text("reason"),
    _number("updated_at_ns"),
    _number("started_at_ns"),
)

OPERATIONS = Table(
    "operations",
    METADATA,
    _id("operation_id", is_key=True),
    _text("kind"),
    _text("subject"),
    Column("state", String(16), nullable=False),
    Column("progress_ratio", Float(53), nullable=False),
    _text("note"),
    _text("reason"),
    _number("created_at_ns"),
    _number("finished_at_ns"),
    _text("failure"),
)

EVENTS = Table(
    "events",
    METADATA,
    _position("sequence"),
    _text("event_id"),
    _text("kind"),
    _number("at_ns"),
    _id("device_id"),
    _text("model_id"),
    _text("from_variant_id"),
    _text("to_variant_id"),
    _text("direction"),
    _text("reason"),
    Column("duration_ms", Float(53)),
    Column("details", JSON, nullable=False),
    Index(None, "device_id", "sequence"),
    Index(None, "kind", "sequence"),
    sqlite_autoincrement=True,
)

TELEMETRY = Table(
    "telemetry",
    METADATA,
    _position("position"),
    _id("device_id"),
    _number("at_ns"),
    _id("model_id"),
    Column("sample", LargeBinary, nullable=False),
    Index(None, "device_id", "at_ns"),
    Index(None, "at_ns"),
    sqlite_autoincrement=True,
)
