"""What a child process is asked to do and what it leaves behind: plain values that cross as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muster_protos.model import Format, Signature, VariantManifest


@dataclass(frozen=True, slots=True)
class Parent:
    """An imported model as the other verbs need it: its baseline and the files that judge it."""

    manifest: VariantManifest
    artifact_path: Path
    evaluation_path: Path | None = None
    calibration_path: Path | None = None


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """Make a new model version out of ``source``."""

    source: str  # a file, or "file.py:function"
    name: str
    version: int
    out_dir: Path
    data: str = ""  # an .npz, "builtin:<name>" or "" = generate inputs
    metric: str = ""  # "" = decided from the labels
    labels: tuple[str, ...] = ()  # class names
    seed: int = 0


@dataclass(frozen=True, slots=True)
class VariantOrder:
    """Bind a ready-made file to an existing model."""

    source: str
    name: str
    parent: Parent
    out_dir: Path
    is_forced: bool = False  # keep it although its outputs disagree
    min_agreement: float = 0.5
    seed: int = 0
    format: str = ""  # what a torch function is exported to: "onnx" (also ""), "tflite"


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Write a torch function as a file."""

    source: str  # "file.py:function"
    format: str  # "onnx" or "tflite"
    name: str  # of the file, without suffix
    out_dir: Path
    data: str = ""  # its first sample gives the shapes


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A checked file."""

    path: Path
    format: Format


@dataclass(frozen=True, slots=True)
class RecipeOrder:
    """Run a recipe on an imported model."""

    recipe: str  # a template's name or the path of a YAML file
    parent: Parent
    out_dir: Path
    floor: str = ""  # "0.88", "-0.01", "0.99rel"; "" = the recipe's own
    data: str = ""  # more data than the model was imported with
    cache_dir: Path | None = None  # None = the user's cache
    seed: int = 0
    measure_latency: bool = False  # on this host, as a hint


@dataclass(frozen=True, slots=True)
class HostLatency:
    """A hint measured on this host, one thread, batch 1; devices decide later."""

    p50_ns: int
    runtime: str
    state: str  # BenchmarkRecord.state
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One variant that came out. A dropped one has its figures and the reason, and its files too."""

    manifest: VariantManifest
    artifact_path: Path
    golden_path: Path
    is_kept: bool = True
    reason: str = ""
    latency: HostLatency | None = None
    latency_unavailable: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything this variant added to the output folder."""
        return (self.artifact_path, self.golden_path)


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A new model version: its face, its baseline variant and the data that judge it."""

    signature: Signature
    manifest: VariantManifest
    artifact_path: Path
    golden_path: Path
    evaluation_path: Path
    calibration_path: Path | None
    is_labelled: bool
    source: str
    notes: tuple[str, ...] = ()  # decisions a person may want to know

    @property
    def files(self) -> tuple[Path, ...]:
        """Every artifact that the manifest names."""
        paths = (self.artifact_path, self.golden_path, self.evaluation_path)
        return paths if self.calibration_path is None else (*paths, self.calibration_path)

    @property
    def parent(self) -> Parent:
        """The same as input of the other verbs."""
        return Parent(self.manifest, self.artifact_path, self.evaluation_path, self.calibration_path)


@dataclass(frozen=True, slots=True)
class FailedVariant:
    """A variant that could not be made at all: a pass cannot take the model, or changed nothing."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """What a recipe gave, in its order. The baseline is the model's own; only its latency may be new."""

    variants: tuple[VariantResult, ...]  # kept and dropped ones
    failed: tuple[FailedVariant, ...] = ()
    notes: tuple[str, ...] = ()
    baseline_latency: HostLatency | None = None
    baseline_latency_unavailable: str = ""
