"""What requests carry. Fields are checked here for type and size, in the service for sense."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(max_length=200)]
Names = Annotated[list[Name], Field(default_factory=list, max_length=10_000)]
Labels = Annotated[dict[Name, Name], Field(default_factory=dict, max_length=64)]
Yaml = Annotated[str, Field(max_length=100_000)]


class Body(BaseModel):
    """Unknown fields and other types are refused: a typo must not pass in silence, nor `false` for 0."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Targets(Body):
    """Which devices: ids or names, labels, or everything when both are empty."""

    devices: Names
    labels: Labels


class TokenBody(Body):
    lifetime_s: Annotated[float, Field(gt=0)] = 24 * 3600
    uses: int = 1
    note: Name = ""


class RotationBody(Body):
    overlap_s: Annotated[float, Field(ge=0, le=366 * 86400)] = 30 * 86400.0


class DevicePatch(Body):
    name: Name | None = None
    labels: Labels
    remove_labels: Names


class ModelBody(Body):
    name: Name
    source_upload: Name
    data_upload: Name = ""
    builtin_data: Name = ""
    metric: Name = ""
    class_labels: Names
    source: Name = ""


class VariantBody(Body):
    name: Name
    source_upload: Name
    force: Annotated[bool, Field(description="take it although its outputs disagree with the baseline's")] = False
    parent: Annotated[
        str, Field(max_length=40, description="the variant that it was made from; absent: the baseline")
    ] = ""
    recipe: Annotated[str, Field(max_length=80, description="the name of the recipe that made it, where one did")] = ""


class CompressBody(Body):
    recipe: Yaml = "quick"
    floor: Annotated[str, Field(max_length=40, description="0.88, -0.01 or 0.99rel")] = ""


class PushBody(Targets):
    model: Name
    variants: Names


class BenchmarkBody(Targets):
    model: Name
    variants: Names
    tier: Name = "quick"
    percentiles: Annotated[list[float], Field(default_factory=lambda: [50.0, 90.0, 95.0, 99.0], max_length=16)]
    threads: Annotated[list[int], Field(default_factory=list, max_length=16)]
    runtimes: Names
    providers: Names
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


class SelectBody(Targets):
    model: Name
    policy_yaml: Yaml
    dry_run: Annotated[bool, Field(description="decide and explain only: nothing is stored")] = False


class RolloutBody(Targets):
    """A canary, then waves: "25%" of the remaining devices, a count, or "all". No waves = all at once."""

    model: Name
    policy_yaml: Yaml = ""
    canary: Annotated[int, Field(ge=0, le=100_000)] = 0
    canary_labels: Labels
    waves: Annotated[list[Name], Field(default_factory=list, max_length=32)]
    deadline_s: Annotated[int, Field(ge=10, le=30 * 86400)] = 3600
    error_threshold_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    success_threshold_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    pauses_after_wave: bool = False


class PhaseBody(Body):
    rate_hz: float = 0.0
    duration_ms: int
    concurrency: int = 0


class LoadBody(Body):
    device: Name
    model: Name = ""
    phases: Annotated[list[PhaseBody], Field(min_length=1, max_length=1000)]
    cpu_ratio: float = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
