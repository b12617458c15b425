"""What a stored report means: the record, event or load result in it, and what becomes of its request."""

from __future__ import annotations

from dataclasses import dataclass, replace

from muster_controller.core.entities import FleetEvent, RequestState, StoredReport
from muster_protos import codec
from muster_protos.errors import CodecError
from muster_protos.model import BenchmarkRecord, Event, LoadResult, RecordState, Report

FAILED_STATES = (RecordState.INVALID, RecordState.UNSPECIFIED)
QUARANTINED = "report rejected: "  # how the reason of a request begins whose answer was not believed
TAKEN = "another report of this device has this number; do two agents share one identity?"


@dataclass(frozen=True, slots=True)
class Unfolded:
    """A report taken apart. At most one of record, event and result is set; none when it was quarantined."""

    report: StoredReport
    record: BenchmarkRecord | None = None
    event: FleetEvent | None = None
    result: LoadResult | None = None
    outcome: RequestState = RequestState.DONE  # of the request that it answers
    reason: str = ""


def unfold(report: StoredReport) -> Unfolded:
    """Take a report apart; one that does not parse, or whose body contradicts its key, comes back quarantined."""
    if report.rejected_reason:
        return quarantine(report, report.rejected_reason)
    try:
        body = codec.decode(Report, report.payload).body
    except CodecError as error:
        return quarantine(report, str(error))
    match body:
        case BenchmarkRecord():
            return _unfold_record(report, body)
        case Event():
            return Unfolded(report, event=fleet_event(report.device_id, body))
        case LoadResult():
            if (body.request_id, body.attempt) != (report.request_id, report.attempt):
                return quarantine(
                    report, f"the load result answers {body.request_id!r}, the report {report.request_id!r}"
                )
            outcome = RequestState.FAILED if body.reason else RequestState.DONE
            return Unfolded(report, result=body, outcome=outcome, reason=body.reason)
        case None:
            return quarantine(report, "the report has no body that this version knows")


def quarantine(report: StoredReport, reason: str) -> Unfolded:
    """Kept, never used; its request has failed."""
    rejected = replace(report, rejected_reason=reason)
    return Unfolded(rejected, outcome=RequestState.FAILED, reason=QUARANTINED + reason)


def fleet_event(device_id: str, event: Event) -> FleetEvent:
    """A device's event as it stands in the fleet's feed; the device id is the link's, not the message's."""
    return FleetEvent(
        event_id=event.event_id,
        kind=event.kind,
        at_ns=event.at_ns,
        device_id=device_id,
        model_id=event.model_id,
        from_variant_id=event.from_variant_id,
        to_variant_id=event.to_variant_id,
        direction=event.direction,
        reason=event.reason,
        duration_ms=event.duration_ms,
        details=event.details,
    )


def _unfold_record(report: StoredReport, record: BenchmarkRecord) -> Unfolded:
    if (record.request_id, record.attempt) != (report.request_id, report.attempt):
        return quarantine(report, f"the record answers {record.request_id!r}, the report {report.request_id!r}")
    if not record.record_id:
        return quarantine(report, "the record has no id")
    if record.state in FAILED_STATES:
        reason = "; ".join(record.reasons) or "the run was invalid"
        return Unfolded(report, record=record, outcome=RequestState.FAILED, reason=reason)
    return Unfolded(report, record=record)
