"""The port through which the service makes models and variants; the making itself runs in child processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from muster_protos.model import Accuracy, ArtifactRef, Signature, VariantManifest

OnProgress = Callable[[float, str], None]
"""(share done in 0..1, a few words for people)"""


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """A file that becomes a new model version."""

    source: Path
    model_id: str
    version: int
    data: Path | None = None  # an .npz with x_<input> or one array, and y when there are labels
    builtin_data: str = ""  # the name of a data set that ships with the compression package
    metric: str = ""  # "" = decided from the data
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model's baseline with the files that judge its variants."""

    manifest: VariantManifest
    artifact_path: Path
    evaluation_path: Path | None = None
    calibration_path: Path | None = None


@dataclass(frozen=True, slots=True)
class VariantOrder:
    """A ready-made file that becomes a variant of an existing model version."""

    source: Path
    name: str
    parent: Shelved
    is_forced: bool = False  # take it although its outputs disagree with the baseline's
    parent_variant_id: str = ""  # what it was made from; "" = the baseline
    recipe: str = ""  # by which, where one did


@dataclass(frozen=True, slots=True)
class CompressOrder:
    """A recipe (a template's name, or the path of a YAML file) to run on a model version's baseline."""

    recipe: str
    parent: Shelved
    floor: str = ""  # a bound such as 0.88, -0.01 or 0.99rel; "" = the recipe's own


@dataclass(frozen=True, slots=True)
class MadeVariant:
    """One variant that came out; every artifact its manifest names is among the product's files."""

    manifest: VariantManifest
    is_kept: bool = True
    dropped_reason: str = ""


@dataclass(frozen=True, slots=True)
class NotMade:
    """A variant that a recipe asked for and that could not be made."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Product:
    """What a child left behind."""

    variants: tuple[MadeVariant, ...]
    files: tuple[Path, ...]
    signature: Signature | None = None  # of a new model
    evaluation: ArtifactRef | None = None
    is_labelled: bool = False
    not_made: tuple[NotMade, ...] = ()
    notes: tuple[str, ...] = ()  # decisions that a person may want to know


def is_recipe_text(recipe: str) -> bool:
    """Whether it is a recipe itself rather than a template's name."""
    return "\n" in recipe or ":" in recipe


class Workshop(Protocol):
    """Runs the compression package in a child process. Raises InvalidInputError with the child's own reason.

    ``stop`` ends the child; the call then raises InterruptedError and leaves no half variant behind.
    """

    def check_builtin_data(self, name: str) -> None:
        """NotFoundError when no data set of this name ships with the compression package."""
        ...

    def check_recipe(self, recipe: str, floor: str = "", baseline: Accuracy | None = None) -> None:
        """Look at a template's name or the text of a YAML file, and at a floor, before anything is started.

        With the baseline's accuracy a floor that nothing can reach is refused, too.

        Raises:
            NotFoundError: no template has that name. InvalidInputError: the text is no recipe, or the floor none.
        """
        ...

    def import_model(
        self, order: ImportOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product: ...

    def import_variant(
        self, order: VariantOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product: ...

    def compress(
        self, order: CompressOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product: ...
