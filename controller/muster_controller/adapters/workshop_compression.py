"""The Workshop port over the compression package, which runs every order in a child process of its own.

The package is imported where it is used: it brings numpy along, and a controller that starts has devices waiting.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
from muster_protos.errors import InvalidInputError
from muster_protos.ids import check_id
from muster_protos.model import Accuracy

if TYPE_CHECKING:
    from muster_compression import orders


class CompressionWorkshop:
    """Translates orders and results; holds no state."""

    def check_builtin_data(self, name: str) -> None:
        from muster_compression.dataset.load import check_builtin

        check_builtin(name)

    def check_recipe(self, recipe: str, floor: str = "", baseline: Accuracy | None = None) -> None:
        from muster_compression.floor import check_reachable, parse_floor
        from muster_compression.recipe import load_recipe, parse_recipe

        if is_recipe_text(recipe):
            read = parse_recipe(recipe, "the recipe")
        else:
            read = load_recipe(check_id(recipe, "recipe name"))
        wanted = parse_floor(floor or read.floor)
        if baseline is not None:
            check_reachable(wanted, baseline)

    def import_model(
        self, order: ImportOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        from muster_compression import orders
        from muster_compression.process import run_order

        _refuse_archive(order.source)
        asked = orders.ImportOrder(
            source=str(order.source),
            name=order.model_id,
            version=order.version,
            out_dir=out_folder,
            data=f"builtin:{order.builtin_data}" if order.builtin_data else str(order.data or ""),
            metric=order.metric,
            labels=order.labels,
        )
        made = run_order(asked, orders.ImportedModel, on_progress, stop)
        return Product(
            signature=made.signature,
            variants=(MadeVariant(made.manifest),),
            files=made.files,
            evaluation=made.manifest.evaluation,
            is_labelled=made.is_labelled,
            notes=made.notes,
        )

    def import_variant(
        self, order: VariantOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        from muster_compression import orders
        from muster_compression.process import run_order

        _refuse_archive(order.source)
        asked = orders.VariantOrder(
            source=str(order.source),
            name=order.name,
            parent=_parent(order.parent),
            out_dir=out_folder,
            is_forced=order.is_forced,
            parent_variant_id=order.parent_variant_id,
            recipe=order.recipe,
        )
        made = run_order(asked, orders.VariantResult, on_progress, stop)
        return _product((made,))

    def compress(
        self, order: CompressOrder, out_folder: Path, on_progress: OnProgress, stop: threading.Event
    ) -> Product:
        from muster_compression import orders
        from muster_compression.process import run_order

        asked = orders.RecipeOrder(
            recipe=order.recipe, parent=_parent(order.parent), out_dir=out_folder, floor=order.floor
        )
        made = run_order(asked, orders.RecipeResult, on_progress, stop)
        return replace(
            _product(made.variants),
            not_made=tuple(NotMade(item.name, item.reason) for item in made.failed),
            notes=made.notes,
        )


def _refuse_archive(path: Path) -> None:
    """torch reads parts of an archive as pickles, and nobody's code runs on the controller's host.

    Raises:
        InvalidInputError: the upload is one.
    """
    from muster_compression.sources.kind import is_archive

    if path.is_file() and is_archive(path):
        raise InvalidInputError(
            f"{path.name}: expected ONNX or TFLite, found an archive of torch.export; `muster model add` exports it on "
            "your own machine"
        )


def _parent(shelved: Shelved) -> orders.Parent:
    from muster_compression import orders

    return orders.Parent(shelved.manifest, shelved.artifact_path, shelved.evaluation_path, shelved.calibration_path)


def _product(made: tuple[orders.VariantResult, ...]) -> Product:
    return Product(
        variants=tuple(MadeVariant(variant.manifest, variant.is_kept, variant.reason) for variant in made),
        files=tuple(path for variant in made for path in variant.files),
    )
