"""A serving record as a table row. Models are kept as encoded ``DesiredModel``: their manifests stay signed bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

from muster_agent.core.known import Conclusion, ServingRecord
from muster_agent.core.wanted import WantedModel, read_model
from muster_protos import codec
from muster_protos.model import DeploymentState, DesiredModel, ServingGrant

_COLUMNS = (
    *("model_id", "trial", "is_trial_active", "trial_starts", "last_good", "conclusions", "tested"),
    *("http_port", "grpc_port", "before_good", "testing", "test_starts"),
)
SELECT_SERVING = f"SELECT {', '.join(_COLUMNS)} FROM serving ORDER BY model_id"
INSERT_SERVING = f"INSERT OR REPLACE INTO serving ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


def row_from_record(record: ServingRecord) -> tuple[Any, ...]:
    """The columns of table ``serving``."""
    conclusions = [
        {
            "grant": base64.b64encode(codec.encode(item.grant)).decode(),
            "state": item.state.value,
            "reason": item.reason,
        }
        for item in record.conclusions
    ]
    return (
        record.model_id,
        _model_bytes(record.trial),
        int(record.is_trial_active),
        record.trial_starts,
        _model_bytes(record.last_good),
        json.dumps(conclusions),
        json.dumps(record.tested),
        record.http_port,
        record.grpc_port,
        _model_bytes(record.before_good),
        record.testing,
        record.test_starts,
    )


def record_from_row(row: tuple[Any, ...]) -> ServingRecord:
    """The inverse of ``row_from_record``.

    Raises:
        InvalidInputError, ValueError, KeyError: the row is damaged.
    """
    model_id, trial, is_trial_active, trial_starts, last_good, conclusions, tested, *rest = row
    http_port, grpc_port, before_good, testing, test_starts = rest
    return ServingRecord(
        model_id=model_id,
        trial=_model(trial),
        is_trial_active=bool(is_trial_active),
        trial_starts=trial_starts,
        last_good=_model(last_good),
        conclusions=tuple(
            Conclusion(
                grant=codec.decode(ServingGrant, base64.b64decode(item["grant"])),
                state=DeploymentState(item["state"]),
                reason=item["reason"],
            )
            for item in json.loads(conclusions)
        ),
        tested=tuple(json.loads(tested)),
        http_port=http_port,
        grpc_port=grpc_port,
        before_good=_model(before_good),
        testing=testing,
        test_starts=test_starts,
    )


def _model_bytes(model: WantedModel | None) -> bytes | None:
    return None if model is None else codec.encode(model.source)


def _model(payload: bytes | None) -> WantedModel | None:
    return None if payload is None else read_model(codec.decode(DesiredModel, payload))
