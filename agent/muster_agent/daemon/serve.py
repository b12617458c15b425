"""The serving steps: self-test, activate, resume, commit, roll back, stop.

Every one writes the durable pointer before it touches a process, so that a kill at any point finds either the old or
the new deployment on record, never neither.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from muster_agent.core import transitions
from muster_agent.core.known import Live, ServingRecord, bad_key, start_key, test_key
from muster_agent.core.steps import Activate, Commit, Resume, Rollback, SelfTest, StopServing, step_key
from muster_agent.core.wanted import Wanted, WantedModel, same_grant
from muster_agent.daemon.moment import Moment
from muster_agent.daemon.outbox import Outbox
from muster_agent.daemon.parts import Parts, Settings
from muster_agent.ports import ArtifactRottedError, Subject
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, PermanentError, TemporaryError
from muster_protos.model import (
    ArtifactRef,
    DeploymentState,
    LocalGrant,
    LocalReady,
    LocalVariant,
    Progress,
    ServingGrant,
    VariantManifest,
)

log = logging.getLogger(__name__)


class ServingSteps:
    """Does the serving steps. Called by the runner, one at a time."""

    def __init__(self, parts: Parts, settings: Settings, moment: Moment, outbox: Outbox) -> None:
        self._parts = parts
        self._settings = settings
        self._moment = moment
        self._outbox = outbox
        self._went_down: dict[str, str] = {}  # by deployment: the variant that was active when its process died last

    def self_test(self, step: SelfTest, wanted: Wanted | None) -> None:
        """Golden inputs through the configuration in a child; a failure concludes the deployment.

        Raises:
            TemporaryError: the bytes have rotted and are fetched again first.
        """
        model = self._granted(wanted, step.model_id, step.deployment_id)
        manifest = model.manifest(step.configuration.variant_id)
        if manifest is None:
            raise ConflictError(f"variant {step.configuration.variant_id} left the desired state meanwhile")
        subject = subject_of(manifest, self._parts, self._outbox, is_serving=True)
        self._parts.state.put_serving(
            transitions.test_begun(self._record(step.model_id), test_key(step.deployment_id, step.configuration))
        )
        hit("self-test: begins")
        self._outbox.progress(Progress("self_test", step.configuration.variant_id, 0.0, 1.0, step.deployment_id))
        try:
            self._parts.measurer.self_test(subject, step.configuration)
        except TemporaryError:
            self._parts.state.put_serving(transitions.test_put_off(self._record(step.model_id)))
            raise
        except PermanentError as error:
            reason = f"self-test of {step.configuration.variant_id}: {error}"
            self._parts.state.mark_bad(bad_key(manifest.artifact.sha256, step.configuration), str(error))
            self._conclude(step.model_id, model, DeploymentState.ROLLED_BACK, reason)
            return
        self._outbox.progress(Progress("self_test", step.configuration.variant_id, 1.0, 1.0, step.deployment_id))
        record = self._record(step.model_id)
        self._parts.state.put_serving(transitions.passed_test(record, step.deployment_id, step.configuration))
        hit("self-test: passed")

    def activate(self, step: Activate, wanted: Wanted | None) -> None:
        """Write the pointer, then load the deployment beside what is up and switch to it."""
        model = self._granted(wanted, step.model_id, step.deployment_id)
        variants = tuple(self._local_variant(model, name) for name in _names(model))
        hit("swap: begins")
        record = transitions.begun(self._record(step.model_id), model)
        self._parts.state.unmark_bad(_start_keys(model))  # another deployment names them: another try
        self._parts.state.put_serving(record)
        hit("swap: pointer written")
        self._load(record, model, variants, step_key(step))

    def resume(self, step: Resume) -> None:
        """Load the target on record again."""
        record = self._record(step.model_id)
        model = next((item for item in record.models if item.deployment_id == step.deployment_id), None)
        if model is None or model is record.before_good:
            raise ConflictError(f"deployment {step.deployment_id} is not on record any more")
        variants = tuple(self._local_variant(model, name) for name in step.variant_ids)
        if model is record.trial or record.before_good is not None:
            record = transitions.started_again(record)
            self._count(record)
        hit("swap: resumes")
        self._load(record, model, variants, step_key(step))

    def commit(self, step: Commit, wanted: Wanted | None) -> None:
        """Make the trial the last good one."""
        model = self._granted(wanted, step.model_id, step.deployment_id)
        record = self._record(step.model_id)
        hit("commit: begins")
        self._parts.state.put_serving(transitions.committed(record, model))
        hit("commit: written")
        self._outbox.event("deployment.committed", model_id=step.model_id, details={"deployment": step.deployment_id})

    def roll_back(self, step: Rollback, wanted: Wanted | None) -> None:
        """Conclude a deployment, whether it was tried or refused."""
        record = self._record(step.model_id)
        on_record = record.target if step.is_start_failure else record.trial
        model = on_record if on_record is not None and on_record.deployment_id == step.deployment_id else None
        if model is None:
            model = self._granted(wanted, step.model_id, step.deployment_id)
        if step.is_start_failure:
            for key in self._suspects(record, model):
                self._parts.state.mark_bad(key, f"deployment {model.deployment_id}: {step.reason}")
        self._conclude(step.model_id, model, step.state, step.reason)

    def went_down(self, deployment_id: str, variant_id: str) -> None:
        """A serving process died while it served this variant."""
        if variant_id:
            self._went_down[deployment_id] = variant_id

    def stop(self, step: StopServing) -> None:
        """Forget the model's pointer, then end its process."""
        self._parts.state.drop_serving(step.model_id)
        hit("stop: forgotten")
        self._parts.served.stop(step.model_id, step.reason)
        live = self._moment.set_down(step.model_id)
        active = live.active_variant_id if live else ""
        self._outbox.event("serving.stopped", model_id=step.model_id, from_variant_id=active, reason=step.reason)

    # ---- parts of steps ----

    def _load(self, record: ServingRecord, model: WantedModel, variants: tuple[LocalVariant, ...], key: str) -> None:
        assert model.grant is not None
        before = self._moment.live(model.model_id)
        began_ns = self._parts.clock.monotonic_ns()
        try:
            answer = self._serve(model.grant, record, variants, is_fresh=before is None)
        except PermanentError as error:
            if model is not record.trial and record.trial != model:
                raise TemporaryError(str(error)) from error  # the last good one is given up only for one before it
            self._conclude(model.model_id, model, DeploymentState.ROLLED_BACK, str(error))
            return
        hit("swap: up")
        self._moment.set_live(model.model_id, _live(model.grant, variants, answer))
        self._moment.succeeded(key)
        self._keep_ready(model, answer)
        self._outbox.event(
            "deployment.activated" if record.trial == model else "serving.resumed",
            model_id=model.model_id,
            from_variant_id=before.active_variant_id if before else "",
            to_variant_id=answer.active_variant_id,
            duration_ms=(self._parts.clock.monotonic_ns() - began_ns) / 1e6,
            details={"deployment": model.deployment_id},
        )

    def _keep_ready(self, model: WantedModel, answer: LocalReady) -> None:
        """It is up, also when that cannot be written down."""
        before = self._record(model.model_id)
        after = transitions.ready(before, answer)
        if before.target != model:  # the last good one, while a trial waits for a disk that can be written
            after = replace(after, is_trial_active=before.is_trial_active)
        if after == before:
            return
        try:
            self._parts.state.put_serving(after)
        except TemporaryError as error:
            log.warning("%s is up, but that cannot be stored: %s", model.model_id, error)

    def _count(self, record: ServingRecord) -> None:
        """Before the act. What was up once is taken up again also when no start can be counted."""
        try:
            self._parts.state.put_serving(record)
        except TemporaryError:
            if record.trial is not None and not record.is_trial_active:
                raise

    def _suspects(self, record: ServingRecord, model: WantedModel) -> tuple[str, ...]:
        """The artifacts that may be to blame: the one in its self-test, the one that was active, else all."""
        ladder = model.ladder()
        tested = [item for item in ladder if test_key(model.deployment_id, item) == record.testing]
        active = [item for item in ladder if item.variant_id == self._went_down.get(model.deployment_id)]
        manifests = {item: model.manifest(item.variant_id) for item in tested or active or ladder}
        return tuple(start_key(found.artifact.sha256, item) for item, found in manifests.items() if found is not None)

    def _serve(
        self, grant: ServingGrant, record: ServingRecord, variants: tuple[LocalVariant, ...], is_fresh: bool
    ) -> LocalReady:
        """Serve on the ports of before; on any others when somebody has taken those meanwhile."""
        local = _local_grant(grant, record, variants, self._settings.memory_limit_bytes)
        try:
            return self._parts.served.serve(local, self._settings.ready_timeout_s)
        except PermanentError as error:
            is_remembered = (local.grant.http_port, local.grant.grpc_port) != (grant.http_port, grant.grpc_port)
            if not (is_fresh and is_remembered):
                raise
            log.warning("%s was refused with its ports of before, trying any: %s", record.model_id, error)
            elsewhere = replace(local, grant=replace(local.grant, http_port=grant.http_port, grpc_port=grant.grpc_port))
            return self._parts.served.serve(elsewhere, self._settings.ready_timeout_s)

    def _conclude(self, model_id: str, model: WantedModel, state: DeploymentState, reason: str) -> None:
        """Write the end of a deployment, then make sure that none of it stays up."""
        assert model.grant is not None
        record = self._record(model_id)
        is_target = record.target is not None and same_grant(record.target.grant, model.grant)
        record = transitions.concluded_with(record, model.grant, state, reason)
        hit("rollback: begins")
        self._parts.state.put_serving(record)
        hit("rollback: written")
        live = self._moment.live(model_id)
        is_up = live is not None and same_grant(live.grant, model.grant)
        if record.target is None and (is_up or is_target):
            self._parts.served.stop(model_id, reason)
            self._moment.set_down(model_id)
        back_to = "" if record.target is None else record.target.deployment_id
        self._outbox.event(
            f"deployment.{state.value}",
            model_id=model_id,
            from_variant_id=live.active_variant_id if live and is_up else "",
            reason=reason,
            details={"deployment": model.deployment_id, "back_to": back_to},
        )

    def _granted(self, wanted: Wanted | None, model_id: str, deployment_id: str) -> WantedModel:
        model = wanted.model(model_id) if wanted else None
        if model is None or model.grant is None or model.deployment_id != deployment_id:
            raise ConflictError(f"deployment {deployment_id} of {model_id} left the desired state meanwhile")
        return model

    def _record(self, model_id: str) -> ServingRecord:
        return self._parts.state.serving().get(model_id, ServingRecord(model_id))

    def _local_variant(self, model: WantedModel, variant_id: str) -> LocalVariant:
        manifest = model.manifest(variant_id)
        if manifest is None:
            raise ConflictError(f"variant {variant_id} of {model.model_id} has no manifest")
        subject = subject_of(manifest, self._parts, self._outbox, is_serving=True)
        return LocalVariant(
            manifest,
            str(subject.artifact_path.absolute()),  # serving processes have other working directories
            str(subject.golden_path.absolute()) if subject.golden_path is not None else "",
        )


def subject_of(manifest: VariantManifest, parts: Parts, outbox: Outbox, is_serving: bool = False) -> Subject:
    """A variant's files, each hashed again now: nothing that has rotted reaches a runtime, and it is told.

    Raises:
        TemporaryError: one has rotted and is in quarantine.
    """
    evaluation = None if is_serving else manifest.evaluation
    try:
        golden_path = _checked(manifest.golden, parts)
        evaluation_path = _checked(evaluation, parts)
        return Subject(manifest, parts.cache.check(manifest.artifact), golden_path, evaluation_path)
    except ArtifactRottedError as error:
        outbox.event(
            "artifact.quarantined",
            model_id=manifest.model_id,
            reason=str(error),
            details={"sha256": error.sha256, "variant": manifest.variant_id},
        )
        raise


def _checked(ref: ArtifactRef | None, parts: Parts) -> Path | None:
    return parts.cache.check(ref) if ref is not None and ref.sha256 else None


def _start_keys(model: WantedModel) -> tuple[str, ...]:
    found = ((item, model.manifest(item.variant_id)) for item in model.ladder())
    return tuple(start_key(manifest.artifact.sha256, item) for item, manifest in found if manifest is not None)


def _names(model: WantedModel) -> tuple[str, ...]:
    return tuple(dict.fromkeys(configuration.variant_id for configuration in model.ladder()))


def _local_grant(
    grant: ServingGrant, record: ServingRecord, variants: tuple[LocalVariant, ...], memory_limit_bytes: int | None
) -> LocalGrant:
    names = {variant.manifest.variant_id for variant in variants}
    return LocalGrant(
        grant=replace(
            grant,
            ladder=tuple(rung for rung in grant.ladder if rung.configuration.variant_id in names),
            http_port=grant.http_port or record.http_port,
            grpc_port=grant.grpc_port or record.grpc_port,
        ),
        model_id=record.model_id,
        signature=variants[0].manifest.signature,
        variants=variants,
        memory_limit_bytes=memory_limit_bytes,
    )


def _live(grant: ServingGrant, variants: tuple[LocalVariant, ...], answer: LocalReady) -> Live:
    return Live(
        grant=grant,
        variant_ids=tuple(variant.manifest.variant_id for variant in variants),
        active_variant_id=answer.active_variant_id,
        resident_variant_ids=answer.resident_variant_ids,
        http_port=answer.http_port,
        grpc_port=answer.grpc_port,
    )
