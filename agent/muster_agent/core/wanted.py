"""The desired state as the agent reads it: manifests decoded and every id checked before it can become a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from muster_protos import codec, ids
from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST
from muster_protos.errors import InvalidInputError, NotAuthorisedError
from muster_protos.model import (
    ArtifactRef,
    BenchmarkRequest,
    Configuration,
    DesiredModel,
    DesiredState,
    LoadRequest,
    ServingGrant,
    SignedEnvelope,
    VariantManifest,
)


@dataclass(frozen=True, slots=True)
class WantedModel:
    """One model of the desired state. ``source`` keeps the signed manifests verbatim; it is what gets persisted."""

    source: DesiredModel
    manifests: tuple[VariantManifest, ...]

    @property
    def model_id(self) -> str:
        return self.source.model_id

    @property
    def grant(self) -> ServingGrant | None:
        return self.source.serving

    @property
    def deployment_id(self) -> str:
        return "" if self.source.serving is None else self.source.serving.deployment_id

    def manifest(self, variant_id: str) -> VariantManifest | None:
        """The manifest of a variant; None when the model has none of that name."""
        return next((item for item in self.manifests if item.variant_id == variant_id), None)

    def ladder(self) -> tuple[Configuration, ...]:
        """The granted configurations, best first; none without a grant."""
        return () if self.grant is None else tuple(rung.configuration for rung in self.grant.ladder)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A verified desired state."""

    fleet_id: str = ""
    device_id: str = ""
    epoch: int = 0
    version: int = 0
    models: tuple[WantedModel, ...] = ()
    benchmarks: tuple[BenchmarkRequest, ...] = ()
    loads: tuple[LoadRequest, ...] = ()

    def model(self, model_id: str) -> WantedModel | None:
        """The model of that id; None when it is not wanted."""
        return next((item for item in self.models if item.model_id == model_id), None)

    def find_variant(self, variant_id: str) -> VariantManifest | None:
        """The manifest of a variant of any wanted model."""
        return next((found for model in self.models if (found := model.manifest(variant_id)) is not None), None)


def supersedes(wanted: Wanted, held: Wanted | None) -> bool:
    """Whether ``wanted`` is newer by (epoch, version); the version of a device never goes down."""
    return held is None or (wanted.epoch, wanted.version) > (held.epoch, held.version)


def same_grant(one: ServingGrant | None, other: ServingGrant | None) -> bool:
    """Whether two grants ask for the same thing; being committed or given more time does not change what is served."""
    if one is None or other is None:
        return one is other
    return replace(one, is_committed=False, deadline_ns=0) == replace(other, is_committed=False, deadline_ns=0)


def artifacts_of(manifest: VariantManifest) -> Iterator[ArtifactRef]:
    """Everything that a device holds of a variant: the artifact, its goldens and its evaluation set."""
    for ref in (manifest.artifact, manifest.golden, manifest.evaluation):
        if ref is not None and ref.sha256:
            yield ref


def serving_artifacts(model: WantedModel) -> Iterator[ArtifactRef]:
    """What must be on the device before a grant can be served: artifacts and goldens of its ladder."""
    for configuration in model.ladder():
        manifest = model.manifest(configuration.variant_id)
        if manifest is not None:
            yield from (ref for ref in (manifest.artifact, manifest.golden) if ref is not None and ref.sha256)


def envelopes_of(envelope: SignedEnvelope) -> tuple[SignedEnvelope, ...]:
    """Every signature that a desired state stands on: its own, then those of its manifests.

    Raises:
        InvalidInputError: the payload is not a desired state.
    """
    desired = _decode_desired(envelope)
    return (envelope, *(manifest for model in desired.models for manifest in model.manifests))


def read_wanted(envelope: SignedEnvelope, device_id: str, fleet_id: str) -> Wanted:
    """Decode a desired state whose signatures have been verified already.

    Raises:
        InvalidInputError: it is malformed or contradicts itself.
        NotAuthorisedError: it was made for another device or fleet.
    """
    desired = _decode_desired(envelope)
    if (desired.device_id, desired.fleet_id) != (device_id, fleet_id):
        raise NotAuthorisedError(
            f"expected a desired state for device {device_id!r} of fleet {fleet_id!r}, "
            f"found one for {desired.device_id[:80]!r} of {desired.fleet_id[:80]!r}; ignored"
        )
    return Wanted(
        fleet_id=desired.fleet_id,
        device_id=desired.device_id,
        epoch=desired.epoch,
        version=desired.version,
        models=tuple(read_model(model) for model in desired.models),
        benchmarks=desired.benchmarks,
        loads=desired.loads,
    )


def read_model(source: DesiredModel) -> WantedModel:
    """Decode one model's manifests and check that ids and sizes are what a file system may see.

    Raises:
        InvalidInputError: a manifest is malformed or belongs to another model.
    """
    ids.check_id(source.model_id, "model id")
    manifests = tuple(_read_manifest(envelope, source.model_id) for envelope in source.manifests)
    return WantedModel(source=source, manifests=manifests)


def _decode_desired(envelope: SignedEnvelope) -> DesiredState:
    if envelope.payload_type != DESIRED_STATE:
        raise InvalidInputError(f"expected a signed {DESIRED_STATE}, found {envelope.payload_type[:80]!r}")
    return codec.decode(DesiredState, envelope.payload)


def _read_manifest(envelope: SignedEnvelope, model_id: str) -> VariantManifest:
    if envelope.payload_type != VARIANT_MANIFEST:
        raise InvalidInputError(f"expected a signed {VARIANT_MANIFEST}, found {envelope.payload_type[:80]!r}")
    manifest = codec.decode(VariantManifest, envelope.payload)
    ids.check_id(manifest.variant_id, "variant id")
    if manifest.model_id != model_id:
        raise InvalidInputError(
            f"expected manifests of model {model_id}, found variant {manifest.variant_id} of {manifest.model_id[:80]!r}"
        )
    ids.check_sha256(manifest.artifact.sha256)
    for ref in artifacts_of(manifest):
        ids.check_sha256(ref.sha256)
        if ref.size_bytes <= 0:
            raise InvalidInputError(f"expected a size of artifact {ref.sha256[:12]}, found {ref.size_bytes} bytes")
    return manifest
