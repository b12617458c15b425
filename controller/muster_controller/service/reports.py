"""Reports of devices: judged, stored exactly once, acknowledged, then acted upon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from muster_controller.core.entities import DeviceRequest, RequestState, StoredReport, Variant
from muster_controller.core.report_rules import check_report
from muster_controller.core.unfold import FAILED_STATES
from muster_controller.ports import ChangeFeed, Clock, DeviceSession, Store
from muster_controller.service.desired import DesiredStates
from muster_controller.service.events import Events
from muster_controller.service.quarantine import Quarantine
from muster_devices.failpoint import hit
from muster_protos import codec
from muster_protos.errors import CodecError, MusterError, NotFoundError
from muster_protos.model import BenchmarkRecord, ControllerMessage, Inventory, LoadResult, Report, ReportAck

_log = logging.getLogger(__name__)

OnAnswer = Callable[[DeviceRequest, int, bool], None]
"""(the benchmark request as it stands now, the attempt that was answered, whether that attempt has failed)"""


class Reports:
    """Takes batches of reports of one device."""

    def __init__(self, store: Store, feed: ChangeFeed, clock: Clock, events: Events, desired: DesiredStates) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._events = events
        self._desired = desired
        self.quarantine = Quarantine(store, clock, events)
        self._on_answer: OnAnswer | None = None
        self._on_result: Callable[[str], None] | None = None

    def follow(self, on_answer: OnAnswer) -> None:
        """Have ``on_answer`` called for each new answer to a benchmark request, after its acknowledgement."""
        self._on_answer = on_answer

    def follow_loads(self, on_result: Callable[[str], None]) -> None:
        """Have ``on_result`` called with the id of each load whose result is new."""
        self._on_result = on_result

    def receive(self, session: DeviceSession, reports: Sequence[Report]) -> None:
        """Store, acknowledge, then act on what was new.

        Raises:
            TemporaryError: the store cannot commit now; nothing is acknowledged, the device sends again.
        """
        device_id = session.device_id
        requests = {request_id: self._request(request_id) for request_id in {report.request_id for report in reports}}
        rows = [self._judge(device_id, report, requests[report.request_id]) for report in reports]
        hit("reports: judged")
        new = self._store.store_reports([row for row in rows if not row.rejected_reason or self._is_kept(row)])
        hit("reports: stored")
        rejected = {_key(row): row.rejected_reason for row in (*rows, *new) if row.rejected_reason}
        for row in rows:
            ack = ReportAck(row.request_id, row.attempt, row.sequence, rejected.get(_key(row), ""))
            session.send(ControllerMessage(ack))
        for key, reason in rejected.items():
            if any(_key(row) == key for row in new):
                self.quarantine.tell("report.rejected", device_id, reason, key[1])
        hit("reports: acknowledged")
        by_key = {_key(row): report for row, report in zip(rows, reports, strict=True)}
        self._act(device_id, [(by_key[_key(row)], _key(row) in rejected) for row in new])

    def _judge(self, device_id: str, report: Report, request: DeviceRequest | None) -> StoredReport:
        reason = self._reason(device_id, report, request)
        try:
            payload = codec.encode(report)
        except CodecError as error:
            payload, reason = b"", reason or str(error)
        row = StoredReport(
            device_id=device_id,
            request_id=report.request_id[:64].replace("\0", ""),
            attempt=report.attempt,
            sequence=report.sequence,
            payload=payload,
            received_at_ns=self._clock.now_ns(),
            rejected_reason=reason,
        )
        return self.quarantine.cut(row)

    def _is_kept(self, row: StoredReport) -> bool:
        """What answers an open request closes it: there are no more of those than were asked for."""
        request = self._request(row.request_id)
        is_answer = (
            request is not None
            and (request.device_id, request.request.attempt) == (row.device_id, row.attempt)
            and request.state is RequestState.OPEN
        )
        return is_answer or self.quarantine.has_room(row.device_id)

    def _reason(self, device_id: str, report: Report, request: DeviceRequest | None) -> str:
        """Why the report is not believed; a record is held against the variant that was asked for and the inventory."""
        if request is None or not isinstance(report.body, BenchmarkRecord):
            return check_report(device_id, report, request)
        variant = self._variant(request.request.configuration.variant_id)
        return check_report(device_id, report, request, variant, self._inventory(device_id))

    def _inventory(self, device_id: str) -> Inventory | None:
        try:
            return self._store.get_device(device_id).inventory
        except NotFoundError:
            return None

    def _request(self, request_id: str) -> DeviceRequest | None:
        try:
            return self._store.get_request(request_id)
        except NotFoundError:
            return None

    def _variant(self, variant_id: str) -> Variant | None:
        try:
            return self._store.get_variant(variant_id)
        except NotFoundError:
            return None

    def _act(self, device_id: str, arrived: Sequence[tuple[Report, bool]]) -> None:
        """Act on new (report, whether it was rejected): a rejected answer has failed its request, too."""
        if not arrived:
            return
        self._events.wake()
        self._feed.publish("reported")
        if any(is_rejected or isinstance(report.body, BenchmarkRecord | LoadResult) for report, is_rejected in arrived):
            self._desired.refresh(device_id)
        for report, is_rejected in arrived:
            if self._on_result is not None and isinstance(report.body, LoadResult) and not is_rejected:
                self._on_result(report.request_id)
        for report, is_rejected in arrived:
            if self._on_answer is None or not (is_rejected or isinstance(report.body, BenchmarkRecord)):
                continue
            request = self._request(report.request_id)
            if request is None or request.device_id != device_id:
                continue
            try:
                self._on_answer(request, report.attempt, is_rejected or _is_invalid(report))
            except MusterError:
                _log.exception("acting on the answer to %s of device %s failed", report.request_id, device_id)


def _is_invalid(report: Report) -> bool:
    """As the store sees it when it closes the request."""
    return isinstance(report.body, BenchmarkRecord) and report.body.state in FAILED_STATES


def _key(row: StoredReport) -> tuple[str, str, int, int]:
    return row.device_id, row.request_id, row.attempt, row.sequence
