"""What an earlier life left on disk is believed no more than what the wire brings: verified before it is acted on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from muster_agent.core.known import ServingRecord
from muster_agent.core.wanted import WantedModel
from muster_agent.daemon.desired import DesiredKeeper
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_protos.errors import PermanentError
from muster_protos.model import SignedEnvelope

log = logging.getLogger(__name__)


def verify_stored(parts: Parts, desired: DesiredKeeper, outbox: Outbox) -> None:
    """Check the stored desired state and the manifests of what was served, in one call when all is well.

    What is not signed by this fleet counts as damaged: it is dropped and reported, and the controller sends it again.

    Raises:
        TemporaryError: it could not be checked, nothing of it may be acted on yet.
    """
    records = parts.state.serving()
    envelopes = [*desired.stored_envelopes()]
    for record in records.values():
        envelopes += (envelope for model in _models(record) for envelope in model.source.manifests)
    unique = list(dict.fromkeys(envelopes))
    if not unique or _refusal(parts, unique) is None:
        return
    error = _refusal(parts, list(desired.stored_envelopes()))
    if error is not None:
        desired.distrust(error)
    for record in records.values():
        _keep_genuine(record, parts, outbox)


def _keep_genuine(record: ServingRecord, parts: Parts, outbox: Outbox) -> None:
    """Drop a record's trial or last good model when it is not genuine, and with its last good all that it says."""
    trial, last_good = (
        None if model is None else _refusal(parts, list(model.source.manifests))
        for model in (record.trial, record.last_good)
    )
    if trial is None and last_good is None:
        return
    if last_good is not None or record.last_good is None:
        parts.state.drop_serving(record.model_id)
    else:
        parts.state.put_serving(replace(record, trial=None, is_trial_active=False, trial_starts=0))
    for model, error in ((record.trial, trial), (record.last_good, last_good)):
        if model is None or error is None:
            continue
        log.error("the record of %s on disk is not genuine and is dropped: %s", record.model_id, error)
        outbox.event(
            "state.refused", model_id=record.model_id, reason=str(error), details={"deployment": model.deployment_id}
        )


def _models(record: ServingRecord) -> Iterator[WantedModel]:
    yield from (model for model in (record.trial, record.last_good) if model is not None)


def _refusal(parts: Parts, envelopes: list[SignedEnvelope]) -> PermanentError | None:
    if not envelopes:
        return None
    try:
        parts.verifier.verify(envelopes)
    except PermanentError as error:
        return error
    return None
