"""What a child process is asked to do and what it leaves behind: plain values that cross as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster_compression.sensitivity.layer import LayerSensitivity
from muster_protos.model import Accuracy, Format, Signature, VariantManifest


@dataclass(frozen=True, slots=True)
class Parent:
    """An imported model as the other verbs need it: its baseline and the files that judge it."""

    manifest: VariantManifest
    artifact_path: Path
    evaluation_path: Path | None = None
    calibration_path: Path | None = None
    torch_source: str = ""  # "file.py:function" or an archive that gave the baseline; "" = its file is all there is
    train_epochs: int = 0  # after which the function's module was the baseline
    data: str = ""  # what it was imported with: training samples come from there
    is_ranking: bool = False  # its evaluation samples are held-out ones, on which a search ranks its points


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
    own_metric: str = ""  # "file.py:function" instead of ``metric``
    train_epochs: int = 0  # of the module that the function returns; 0 = it is trained already
    cache_dir: Path | None = None  # None = the user's cache
    threads: int = 0  # to train with; 0 = as many as the process may use


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
    parent_variant_id: str = ""  # what it was made from; "" = the baseline
    recipe: str = ""  # the name of the one that made it, where one did


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
    seed: int | None = None  # None = the recipe's own
    measure_latency: bool = False  # on this host, as a hint
    own_metric: str = ""  # "file.py:function" of a model that is judged by it
    threads: int = 0  # to train with; 0 = as many as the process may use
    tells_failures: bool = False  # when nothing could be made: what failed, with its steps, instead of an error


@dataclass(frozen=True, slots=True)
class HoldoutOrder:
    """Write a model's held-out samples down so that a search can rank its points on them."""

    parent: Parent
    out_dir: Path
    own_metric: str = ""  # "file.py:function" of a model that is judged by it


@dataclass(frozen=True, slots=True)
class Holdout:
    """The held-out samples as evaluation samples of the same baseline."""

    parent: Parent | None = None  # judged on them; None = there are none to rank on
    reason: str = ""  # why not
    samples: int = 0
    samples_sha256: str = ""  # of training samples and holdout, where there are any
    notes: tuple[str, ...] = ()  # on samples that stand in two splits


@dataclass(frozen=True, slots=True)
class HostLatency:
    """A hint measured on this host, one thread, batch 1; devices decide later."""

    p50_ns: int
    runtime: str
    state: str  # BenchmarkRecord.state
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepResult:
    """One pass of a variant's chain and what the gate found after it."""

    pass_name: str
    effect: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    wall_s: float = 0.0  # of the pass itself, when it was computed
    is_cached: bool = False
    accuracy: Accuracy | None = None  # None = not judged: the pass keeps its outputs
    reason: str = ""  # why the chain ended here; "" = it went on
    sensitivities: tuple[LayerSensitivity, ...] = ()
    resumed: tuple[str, ...] = ()  # trainings that went on where a run before had been ended


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
    steps: tuple[StepResult, ...] = ()

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
    torch_source: str = ""  # see Parent
    train_epochs: int = 0
    data: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every artifact that the manifest names."""
        paths = (self.artifact_path, self.golden_path, self.evaluation_path)
        return paths if self.calibration_path is None else (*paths, self.calibration_path)

    @property
    def parent(self) -> Parent:
        """The same as input of the other verbs."""
        return Parent(
            self.manifest,
            self.artifact_path,
            self.evaluation_path,
            self.calibration_path,
            self.torch_source,
            self.train_epochs,
            self.data,
        )


@dataclass(frozen=True, slots=True)
class FailedVariant:
    """A variant without a file: a pass cannot take the model or changed nothing, or a torch form missed the floor."""

    name: str
    reason: str
    steps: tuple[StepResult, ...] = ()  # as far as it came
    is_extra_missing: bool = False  # an optional part that it needs is not installed
    is_file_missing: bool = False  # a file or function that its passes name is not there
    is_parent_missing: bool = False  # what it starts from was dropped or could not be made

    @property
    def is_under_floor(self) -> bool:
        """Whether a torch form of it missed the floor."""
        return bool(self.steps and self.steps[-1].reason)


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """What a recipe gave, in its order. The baseline is the model's own; only its latency may be new."""

    variants: tuple[VariantResult, ...]  # kept and dropped ones
    failed: tuple[FailedVariant, ...] = ()
    notes: tuple[str, ...] = ()
    baseline_latency: HostLatency | None = None
    baseline_latency_unavailable: str = ""
