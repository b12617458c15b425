"""Models and their variants: asked for, shelved, shown, removed."""

from __future__ import annotations

import os
import re
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from muster_controller.core.entities import Model, Operation, Variant
from muster_controller.ports import Page
from muster_controller.service.context import Context
from muster_controller.service.events import Events
from muster_controller.service.made_texts import note_of
from muster_controller.service.nearest import unknown
from muster_controller.service.operations import Operations
from muster_controller.service.paging import every
from muster_controller.service.shelf import sign_variant, store_files
from muster_controller.service.uploads import Uploads
from muster_controller.service.workshop import (
    CompressOrder,
    ImportOrder,
    MadeVariant,
    NotMade,
    OnProgress,
    Product,
    Shelved,
    VariantOrder,
    is_recipe_text,
)
from muster_devices.failpoint import hit
from muster_protos.errors import ConflictError, InvalidInputError, NotFoundError
from muster_protos.ids import check_id, variant_id
from muster_protos.model import Accuracy, ArtifactRef


@dataclass(frozen=True, slots=True)
class NewModel:
    """What somebody hands in to get a new model version."""

    model_id: str
    source_upload: str
    data_upload: str = ""
    builtin_data: str = ""
    metric: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""  # the file's name where it came from, for people


@dataclass(frozen=True, slots=True)
class Origin:
    """Where somebody's own run of a recipe has a variant from."""

    parent: str = ""  # a variant's name; "" = the baseline
    recipe: str = ""  # the recipe's name


def split_reference(text: str) -> tuple[str, int | None]:
    """``name`` or ``name:version``."""
    name, separator, version = text.partition(":")
    if not separator:
        return name, None
    if not version.isdecimal() or len(version) > 9 or int(version) < 1:
        raise InvalidInputError(f'expected a model as "name" or "name:version", found "{text[:80]}"')
    return name, int(version)


_UNCHANGED = "unchanged"


class Models:
    """The catalogue. New versions and variants are made by operations."""

    def __init__(self, context: Context, events: Events, operations: Operations, uploads: Uploads) -> None:
        self._context = context
        self._store = context.store
        self._events = events
        self._operations = operations
        self._uploads = uploads
        self._imports: dict[str, threading.Lock] = {}  # one at a time per name

    def list(self, cursor: str = "", limit: int = 100) -> Page[Model]:
        return self._store.list_models(cursor, limit)

    def get(self, reference: str) -> Model:
        """By ``name`` (its newest version) or ``name:version``. NotFoundError names the nearest ones."""
        model_id, version = split_reference(reference)
        try:
            return self._store.get_model(model_id, version)
        except NotFoundError:
            known = {model.model_id: model.version for model in every(lambda cursor: self.list(cursor, 500))}
            if model_id in known:
                newest = known[model_id]
                raise NotFoundError(f'no version {version} of model "{model_id}"; the newest is {newest}') from None
            raise unknown("model", model_id, known) from None

    def variants(self, model: Model) -> tuple[Variant, ...]:
        return self._store.list_variants(model.model_id, model.version)

    def kept(self, model: Model, names: tuple[str, ...] = ()) -> tuple[Variant, ...]:
        """The kept variants, or those named by variant name or id."""
        variants = self.variants(model)
        if not names:
            return tuple(variant for variant in variants if variant.is_kept)
        by_name = {v.manifest.name: v for v in variants} | {v.manifest.variant_id: v for v in variants}
        for name in names:
            if name not in by_name:
                raise unknown(f"variant of {model.model_id}:{model.version}", name, (v.manifest.name for v in variants))
        return tuple({by_name[n].manifest.variant_id: by_name[n] for n in names}.values())

    def variant(self, variant: str) -> Variant:
        return self._store.get_variant(variant)

    def add(self, order: NewModel) -> Operation:
        """Import an uploaded file as the next version of a model.

        The operation's note is the new ``name:version``; further lines say what a person may want to know.

        Raises:
            InvalidInputError: the name is not an id. NotFoundError: an upload or a built-in data set is unknown.
        """
        check_id(order.model_id, "model name")
        if order.builtin_data:
            self._context.workshop.check_builtin_data(order.builtin_data)
        source = self._uploads.path(order.source_upload)
        data = self._uploads.path(order.data_upload) if order.data_upload else None

        def work(on_progress: OnProgress, stop: threading.Event) -> str:
            lock = self._imports.setdefault(order.model_id, threading.Lock())
            with lock, _workspace(self._context.folder, order.source_upload) as out:
                version = self._next_version(order.model_id)
                made = ImportOrder(
                    source=_named(source, order.source or order.model_id, out),
                    model_id=order.model_id,
                    version=version,
                    data=_named(data, "data.npz", out) if data else None,
                    builtin_data=order.builtin_data,
                    metric=order.metric,
                    labels=order.labels,
                )
                product = self._context.workshop.import_model(made, out / "made", on_progress, stop)
                model = self._shelve_model(order, version, product)
            self._uploads.discard(order.source_upload)
            if data is not None:
                self._uploads.discard(order.data_upload)
            return note_of(product, [f"{model.model_id}:{model.version}"])

        return self._operations.start("model.add", order.model_id, work)

    def add_variant(
        self, reference: str, name: str, source_upload: str, is_forced: bool = False, origin: Origin | None = None
    ) -> Operation:
        """Import an uploaded ready-made file as a variant of ``reference``.

        A file whose outputs disagree with the baseline's is refused unless ``is_forced``.

        Raises:
            NotFoundError: no such model, or no variant that it is said to come from.
        """
        origin = origin or Origin()
        model = self.get(reference)
        variant_id(model.model_id, model.version, name)
        source = self._uploads.path(source_upload)
        baseline = self._baseline(model)
        (parent,) = self.kept(model, (origin.parent,)) if origin.parent else (baseline,)
        parent_id = parent.manifest.variant_id

        def work(on_progress: OnProgress, stop: threading.Event) -> str:
            with _workspace(self._context.folder, source_upload) as out:
                file = _named(source, name, out)
                order = VariantOrder(file, name, self._shelved(baseline), is_forced, parent_id, origin.recipe)
                product = self._context.workshop.import_variant(order, out / "made", on_progress, stop)
                self._refuse_taken_name(product)
                names = self._shelve_variants(product)
            self._uploads.discard(source_upload)
            is_there = [name for name in names if name.endswith(f"({_UNCHANGED})")]
            return ", ".join(names) + (f"\nnote: {name}: these very bytes were there already" if is_there else "")

        return self._operations.start("model.variant", f"{model.model_id}:{model.version}", work)

    def compress(self, reference: str, recipe: str, floor: str = "") -> Operation:
        """Run a recipe (a template's name, or the text of a YAML file) on the baseline of ``reference``.

        The operation's note names the variants; further lines say what was dropped or not made, and why.

        Raises:
            NotFoundError: no such model or recipe. InvalidInputError: the text is no recipe, or the floor none.
        """
        model = self.get(reference)
        if not is_recipe_text(recipe):
            check_id(recipe, "recipe name")  # a path from outside is never followed
        baseline = self._baseline(model)
        self._context.workshop.check_recipe(recipe, floor, baseline.manifest.accuracy or Accuracy(n=0))

        def work(on_progress: OnProgress, stop: threading.Event) -> str:
            with _workspace(self._context.folder, f"compress-{model.model_id}-{model.version}") as out:
                order = CompressOrder(_recipe_file(recipe, out), self._shelved(baseline), floor)
                product = self._context.workshop.compress(order, out / "made", on_progress, stop)
                product = self._without_taken_names(product)
                return note_of(product, self._shelve_variants(product))

        return self._operations.start("compress", f"{model.model_id}:{model.version}", work)

    def remove(self, reference: str) -> None:
        """All versions of it. ConflictError while a deployment serves it."""
        model = self.get(reference)
        self._store.remove_model(model.model_id)
        self._events.record("model.removed", model_id=model.model_id)

    def _baseline(self, model: Model) -> Variant:
        for variant in self.variants(model):
            if not variant.manifest.parent_variant_id:
                return variant
        raise NotFoundError(f"model {model.model_id}:{model.version} has no baseline variant")

    def _next_version(self, model_id: str) -> int:
        try:
            return self._store.get_model(model_id).version + 1
        except NotFoundError:
            return 1

    def _shelved(self, baseline: Variant) -> Shelved:
        manifest, path = baseline.manifest, self._context.artifacts.path

        def path_of(ref: ArtifactRef | None) -> Path | None:
            return None if ref is None else path(ref.sha256)

        return Shelved(
            manifest, path(manifest.artifact.sha256), path_of(manifest.evaluation), path_of(manifest.calibration)
        )

    def _shelve_model(self, order: NewModel, version: int, product: Product) -> Model:
        baseline, *others = product.variants
        if product.signature is None:
            raise InvalidInputError("expected a signature of the new model, found none")
        store_files(self._context.artifacts, product)
        hit("model: files stored")
        model = Model(
            model_id=order.model_id,
            version=version,
            signature=product.signature,
            created_at_ns=self._context.clock.now_ns(),
            source=order.source[:300],
            evaluation=product.evaluation,
            is_labelled=product.is_labelled,
        )
        self._store.add_model(model, sign_variant(self._context, baseline))
        hit("model: added")
        for variant in others:
            self._store.add_variant(sign_variant(self._context, variant))
        self._events.record("model.added", model_id=model.model_id, details={"version": str(version)})
        return model

    def _shelve_variants(self, product: Product) -> tuple[str, ...]:
        """Store what came out; of a variant that is there already (same recipe again) only the verdict may change."""
        store_files(self._context.artifacts, product)
        names = []
        for made in product.variants:
            known = self._known(made.manifest.variant_id)
            if known is not None:
                names.append(f"{made.manifest.name} ({self._judge_again(known, made)})")
                continue
            stamped = replace(made.manifest, created_at_ns=made.manifest.created_at_ns or self._context.clock.now_ns())
            hit("variant: signed")
            self._store.add_variant(sign_variant(self._context, replace(made, manifest=stamped)))
            self._events.record(
                "variant.added", model_id=made.manifest.model_id, details={"variant": made.manifest.variant_id}
            )
            names.append(made.manifest.name if made.is_kept else f"{made.manifest.name} (dropped)")
        return tuple(names)

    def _refuse_taken_name(self, product: Product) -> None:
        """One file was given for one name: other bytes under a name that is there already are a mistake."""
        left = self._without_taken_names(product)
        if len(left.variants) < len(product.variants):
            made = product.variants[0].manifest
            raise ConflictError(
                f"expected a new name, found the variant {made.name} of {made.model_id}:{made.model_version} there "
                "already with other bytes, and a variant never changes; add the file under another --name"
            )

    def _without_taken_names(self, product: Product) -> Product:
        """Other bytes under the name of a variant that is there already are not made: a variant never changes."""
        taken = []
        for made in product.variants:
            known = self._known(made.manifest.variant_id)
            if known is not None and known.manifest.artifact.sha256 != made.manifest.artifact.sha256:
                taken.append(made.manifest.name)
        reason = "a variant of this name with other bytes is there already; give it another name in the recipe"
        return replace(
            product,
            variants=tuple(made for made in product.variants if made.manifest.name not in taken),
            not_made=(*product.not_made, *(NotMade(name, reason) for name in taken)),
        )

    def _judge_again(self, known: Variant, made: MadeVariant) -> str:
        """The newest verdict counts; in one word what it changed."""
        if (known.is_kept, known.dropped_reason) == (made.is_kept, made.dropped_reason):
            return _UNCHANGED
        self._store.put_variant_verdict(made.manifest.variant_id, made.is_kept, made.dropped_reason)
        word = "kept" if made.is_kept else "dropped"
        details = {"variant": made.manifest.variant_id}
        self._events.record(f"variant.{word}", "", made.manifest.model_id, made.dropped_reason, details)
        return word

    def _known(self, variant: str) -> Variant | None:
        try:
            return self._store.get_variant(variant)
        except NotFoundError:
            return None


def _named(upload: Path, name: str, folder: Path) -> Path:
    """The upload under a name that people know, for messages; only harmless characters of it are taken."""
    path = folder / (re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).name).lstrip(".")[:64] or "file")
    os.link(upload, path)
    return path


def _recipe_file(recipe: str, folder: Path) -> str:
    """A template's name as it is, the text of a recipe as a file."""
    if not is_recipe_text(recipe):
        return recipe
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    return str(path)


class _workspace:  # noqa: N801  (a context manager that reads as a verb)
    """A fresh folder for a child's output, removed afterwards."""

    def __init__(self, data_folder: Path, name: str) -> None:
        self._path = data_folder / "work" / f"{name}-{threading.get_ident()}"

    def __enter__(self) -> Path:
        shutil.rmtree(self._path, ignore_errors=True)
        (self._path / "made").mkdir(parents=True)
        return self._path

    def __exit__(self, *exc_info: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
