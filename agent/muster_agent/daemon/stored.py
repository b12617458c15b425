"""What an earlier life left on disk is believed no more than what the wire brings: verified before it is acted on."""

from __future__ import annotations

import logging
from dataclasses import replace

from muster_agent.core.known import ServingRecord
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
        envelopes += (envelope for model in record.models for envelope in model.source.manifests)
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
    models = (record.trial, record.last_good, record.before_good)
    errors = [None if model is None else _refusal(parts, list(model.source.manifests)) for model in models]
    trial, last_good, before_good = errors
    if not any(errors):
        return
    if last_good is not None or record.last_good is None:
        parts.state.drop_serving(record.model_id)
    else:
        record = record if before_good is None else replace(record, before_good=None)
        if trial is not None:
            record = replace(record, trial=None, is_trial_active=False, trial_starts=0)
        parts.state.put_serving(record)
    for model, error in zip(models, errors, strict=True):
        if model is None or error is None:
            continue
        log.error("the record of %s on disk is not genuine and is dropped: %s", record.model_id, error)
        outbox.event(
            "state.refused", model_id=record.model_id, reason=str(error), details={"deployment": model.deployment_id}
        )


def _refusal(parts: Parts, envelopes: list[SignedEnvelope]) -> PermanentError | None:
    if not envelopes:
        return None
    try:
        parts.verifier.verify(envelopes)
    except PermanentError as error:
        return error
    return None
