"""/v1/reports: what devices have reported, as it came in; above all what was not believed, and why."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Response

from muster_controller.core.entities import StoredReport
from muster_controller.web.replies import Items, items
from muster_controller.web.scope import Cursor, Limit, ServiceOf
from muster_protos import codec
from muster_protos.errors import CodecError
from muster_protos.model import Report

router = APIRouter(tags=["reports"])


@dataclass(frozen=True, slots=True)
class ReportView:
    """A report without what is in it; the first four fields are its key."""

    device_id: str
    request_id: str
    attempt: int
    sequence: int
    received_at_ns: int
    rejected_reason: str  # quarantined: kept, never used; "" = believed
    what: str  # "Event", "BenchmarkRecord", "LoadResult"; "" when it cannot be read, or was cut off
    payload_bytes: int  # as kept: of a quarantined one at most 16 KiB


@router.get("/reports", response_model=Items[ReportView])
def list_reports(
    service: ServiceOf, device: str = "", rejected: bool | None = None, cursor: Cursor = "", limit: Limit = 100
) -> Response:
    """In the order of arrival; with ``rejected`` the quarantined ones alone, or those that are not."""
    found = service.reports(device, rejected, cursor, limit)
    return items(tuple(_view(report) for report in found.items), found.next_cursor)


def _view(report: StoredReport) -> ReportView:
    return ReportView(
        report.device_id,
        report.request_id,
        report.attempt,
        report.sequence,
        report.received_at_ns,
        report.rejected_reason,
        _what(report.payload),
        len(report.payload),
    )


def _what(payload: bytes) -> str:
    try:
        body = codec.decode(Report, payload).body
    except CodecError:
        return ""
    return "" if body is None else type(body).__name__
