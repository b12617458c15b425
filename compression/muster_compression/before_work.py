"""What can be refused before a model is imported: a recipe that has nothing for it, a floor that nothing reaches."""

from __future__ import annotations

from pathlib import Path

from muster_compression.floor import Floor, check_reachable
from muster_compression.recipe import BASELINE, Recipe
from muster_compression.sources.kind import SourceKind, kind_of
from muster_protos.errors import InvalidInputError
from muster_protos.metric_names import BUILT_IN
from muster_protos.model import Accuracy

_TFLITE = b"TFL3"


def check_recipe_fits(recipe: Recipe, model: str) -> None:
    """The format is that of the file's content; torch modules and archives are imported as ONNX.

    Raises:
        NotFoundError: there is no such model.
        InvalidInputError: it is none, or no variant of the recipe starts from it; with the way out.
    """
    is_file = kind_of(model) is SourceKind.FILE
    format = "tflite" if is_file and _starts_as_tflite(Path(model)) else "onnx"  # noqa: A001
    roots = [item for item in recipe.variants if item.parent == BASELINE]
    if any((not is_file) if item.is_from_torch else format in item.formats for item in roots):
        return
    name = Path(model).name
    if any(item.is_from_torch for item in roots):
        raise InvalidInputError(
            f"recipe {recipe.name} starts from a torch module, {name} is a file: name the module's source, --model "
            "net.py:make instead of the file, or take a recipe of post-training passes such as quick"
        )
    raise InvalidInputError(f"recipe {recipe.name} has nothing for {format} models such as {name}")


def check_floor_fits(floor: Floor | None, metric: str, has_data: bool) -> None:
    """As ``check_reachable``, where the metric is known or has to be said: only errors such as mae go above 1.

    ``metric`` is what the user asked for; a function of the user's own is known only when it ran.

    Raises:
        InvalidInputError: the floor is above 1, and the metric is none that goes there.
    """
    if metric in BUILT_IN or not has_data:
        check_reachable(floor, Accuracy(metric=metric, value=1.0 if has_data else None))
    elif not metric and floor is not None and floor.value > 1:
        raise InvalidInputError(
            f"expected a floor of at most 1 for accuracy (0.95 is 95 %), found {floor.text}; where the metric is an "
            "error, say which, as in --metric mae"
        )


def _starts_as_tflite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(8)[4:] == _TFLITE
