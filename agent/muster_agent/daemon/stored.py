"""What an earlier life left on disk is believed no more than what the wire brings: verified before it is acted on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from muster_agent.core.known import ServingRecord
from muster_agent.core.wanted import WantedModel
from muster_agent.daemon.desired import DesiredKeeper
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts
from muster_agent.ports import Verifier
from muster_protos.errors import PermanentError, TemporaryError
from muster_protos.model import SignedEnvelope

log = logging.getLogger(__name__)

Group = tuple[SignedEnvelope, ...]
"""What stands or falls together: a desired state with its manifests, or the manifests of one deployment."""


@dataclass(frozen=True, slots=True)
class StoredChecked:
    """What came of the check: the groups that are not genuine, or why there was none."""

    forged: Mapping[Group, PermanentError] = field(default_factory=dict)
    error: TemporaryError | None = None


def stored_groups(parts: Parts, desired: DesiredKeeper) -> tuple[Group, ...]:
    """The stored desired state and the manifests of what was served; none for an empty device."""
    groups = [desired.stored_envelopes()]
    groups += (_group(model) for record in parts.state.serving().values() for model in record.models)
    return tuple(dict.fromkeys(group for group in groups if group))


def check_stored(verifier: Verifier, groups: Sequence[Group]) -> StoredChecked:
    """One call when all is well, else one for each group. May take a minute: to be called beside the loop."""
    try:
        whole = tuple(dict.fromkeys(envelope for group in groups for envelope in group))
        if _refusal(verifier, whole) is None:
            return StoredChecked()
        refusals = ((group, _refusal(verifier, group)) for group in groups)
        return StoredChecked({group: error for group, error in refusals if error is not None})
    except TemporaryError as error:
        return StoredChecked(error=error)
    except Exception as error:
        log.exception("what is stored could not be checked")
        return StoredChecked(error=TemporaryError(f"{type(error).__name__}: {error}"))


def drop_forged(forged: Mapping[Group, PermanentError], parts: Parts, desired: DesiredKeeper, outbox: Outbox) -> None:
    """What is not signed by this fleet counts as damaged: it is dropped and told, and the controller sends it again."""
    error = forged.get(desired.stored_envelopes())
    if error is not None:
        desired.distrust(error)
    for record in parts.state.serving().values():
        _keep_genuine(record, forged, parts, outbox)


def _keep_genuine(record: ServingRecord, forged: Mapping[Group, PermanentError], parts: Parts, outbox: Outbox) -> None:
    """Drop a record's trial or last good model when it is not genuine, and with its last good all that it says."""
    models = (record.trial, record.last_good, record.before_good)
    errors = [None if model is None else forged.get(_group(model)) for model in models]
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


def _group(model: WantedModel) -> Group:
    return tuple(model.source.manifests)


def _refusal(verifier: Verifier, envelopes: Group) -> PermanentError | None:
    try:
        verifier.verify(envelopes)
    except PermanentError as error:
        return error
    return None
