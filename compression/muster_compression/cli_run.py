"""The verbs that work: ``run`` and ``search``, from what was typed to what is printed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from muster_compression import report
from muster_compression.before_work import check_floor_fits, check_recipe_fits
from muster_compression.ending import TerminatedError
from muster_compression.floor import Floor, check_reachable, parse_floor
from muster_compression.import_model import ImportedModel, import_model
from muster_compression.nothing_made import ExtrasMissingError, NothingMadeError
from muster_compression.progress import Progress
from muster_compression.recipe import Recipe, parse_recipe, recipe_text
from muster_compression.run_file import Asked, Run, run_of, save_run
from muster_compression.run_recipe import run_recipe
from muster_compression.search.budget import parse_budget
from muster_compression.search.conclude import NothingKeptError
from muster_compression.search.evaluate import Asked as SearchOrder
from muster_compression.search.lock import alone_in
from muster_compression.search.run_search import run_search
from muster_compression.search.space import load_space
from muster_compression.set_aside import with_dropped_aside
from muster_compression.sources.kind import split_torch
from muster_compression.tree import COLUMNS, as_tree
from muster_protos.errors import MusterError, as_usage
from muster_protos.ids import check_id
from muster_protos.metric_names import BUILT_IN

PARTIAL = 8
_MOST = 1000


def source_arguments(parser: argparse.ArgumentParser) -> None:
    """What is compressed, and what judges it."""
    parser.add_argument("--model", required=True, help="an .onnx, .tflite or .pt2 file, or file.py:function for torch")
    parser.add_argument(
        "--data", default="", help="data.npz, data.py:function or builtin:digits; without it only agreement is known"
    )
    parser.add_argument("--floor", default="", help="0.88, -0.01 or 0.99rel; variants under it are dropped")
    parser.add_argument("--out", required=True, type=Path, help="folder for the variants")
    parser.add_argument("--name", default="", help="of the model (default: from its file)")
    parser.add_argument(
        "--metric", default="", type=_metric, help=f"{', '.join(BUILT_IN)}, or metrics.py:function(predictions, labels)"
    )
    parser.add_argument("--seed", type=_seed, help="0 or a positive whole number (default: the recipe's own)")
    parser.add_argument(
        "--train-epochs",
        type=_count,
        default=0,
        help="train what file.py:function returns first (default: it is trained)",
    )
    parser.add_argument("--threads", type=_count, default=0, help="to train with; other numbers may give other weights")
    parser.add_argument("--no-latency", action="store_true", help="do not measure on this host")


def run(options: argparse.Namespace) -> int:
    """Import the model, run the recipe, keep and print what came out; 8 when something did not."""
    started = time.monotonic()
    with as_usage():  # what is misspelt is found before the model is trained
        text = recipe_text(options.recipe)
        recipe = parse_recipe(text, Path(options.recipe).name)
        floor = parse_floor(options.floor or recipe.floor)
    _check(options, recipe, floor)
    with Progress() as progress:
        imported = _import(options, floor, progress.part(0.0, 0.4))
        try:
            result = run_recipe(
                imported.parent,
                options.recipe,
                options.out,
                progress.part(0.4, 0.6),
                floor=options.floor,
                seed=options.seed,
                measure_latency=not options.no_latency,
                own_metric=_own_metric(options.metric),
                threads=options.threads,
            )
        except (NothingMadeError, ExtrasMissingError) as error:  # what each pass did is kept all the same
            asked = _asked(options, text, recipe.seed)
            save_run(options.out, run_of(asked, imported, error.result, _since(started)))
            raise
    result = with_dropped_aside(result, options.out)
    report.save_manifests(options.out, imported, result)
    return _tell(options, run_of(_asked(options, text, recipe.seed), imported, result, _since(started)))


def search(options: argparse.Namespace) -> int:
    """Import, search the recipe's free parameters, keep and print the frontier; 8 when part of it did not come out."""
    started = time.monotonic()
    with as_usage():
        budget, space = parse_budget(options.budget), load_space(options.recipe)
        floor = parse_floor(options.floor or space.recipe({}).floor)
    _check(options, space.recipe({}), floor)
    recipe_yaml, own_seed = recipe_text(options.recipe), space.recipe({}).seed
    asked = SearchOrder(
        options.out, options.floor, options.seed, _own_metric(options.metric), options.threads, not options.no_latency
    )
    with alone_in(options.out):
        with Progress() as progress:
            imported = _import(options, floor, progress.part(0.0, 0.1))
            asked_for = _asked(options, recipe_yaml, own_seed)
            try:
                found = run_search(imported, space, budget, asked, progress.part(0.1, 0.9))
            except (KeyboardInterrupt, TerminatedError):
                print(f"points so far are kept in {options.out}; the same command goes on", file=sys.stderr)
                raise
            except NothingKeptError as error:  # the points and their steps are kept all the same
                save_run(options.out, run_of(asked_for, imported, error.result, _since(started), error.summary))
                raise
        result = with_dropped_aside(found.result, options.out)
        report.save_manifests(options.out, imported, result)
        return _tell(options, run_of(asked_for, imported, result, _since(started), found.summary))


def _tell(options: argparse.Namespace, found: Run) -> int:
    """Keep what was found, and print it; 8 when something of it did not come out."""
    save_run(options.out, found)
    columns = shutil.get_terminal_size((COLUMNS, 24)).columns
    print(json.dumps(report.as_json(found), indent=2) if options.output == "json" else as_tree(found, columns))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.output != "json" and found.variants:
        print(f"`muster-compress report {options.out}` draws the frontier", file=sys.stderr)
    return PARTIAL if found.failed or not all(row.kept for row in found.variants) else 0


def _since(started: float) -> float:
    return time.monotonic() - started


def _check(options: argparse.Namespace, recipe: Recipe, floor: Floor | None) -> None:
    """What needs no work to be found."""
    with as_usage():
        check_id(_name(options), "model name")
        check_floor_fits(floor, options.metric, bool(options.data))
    check_recipe_fits(recipe, options.model)


def _name(options: argparse.Namespace) -> str:
    return options.name or report.model_name(options.model)


def _import(
    options: argparse.Namespace, floor: Floor | None, on_progress: Callable[[float, str], None]
) -> ImportedModel:
    own_metric = _own_metric(options.metric)
    before = set(options.out.iterdir()) if options.out.is_dir() else None
    imported = import_model(
        options.model,
        _name(options),
        1,
        options.data,
        options.out,
        on_progress,
        metric="" if own_metric else options.metric,
        own_metric=own_metric,
        seed=options.seed or 0,
        train_epochs=options.train_epochs,
        threads=options.threads,
    )
    if imported.manifest.accuracy is not None:
        try:
            with as_usage():
                check_reachable(floor, imported.manifest.accuracy)
        except MusterError:
            _take_back(imported, options.out, before)
            raise
    return imported


def _take_back(imported: ImportedModel, out_dir: Path, before: set[Path] | None) -> None:
    """Remove what the import added to a folder that held ``before``; None = there was no folder."""
    for path in imported.files:
        if path not in (before or ()):
            path.unlink(missing_ok=True)
    if before is None:
        out_dir.rmdir()


def _own_metric(metric: str) -> str:
    """``--metric`` when it names a function of the user's."""
    return metric if split_torch(metric) is not None else ""


def _asked(options: argparse.Namespace, recipe_yaml: str, own_seed: int) -> Asked:
    return Asked(
        source=options.model,
        recipe=options.recipe,
        recipe_yaml=recipe_yaml,
        data=options.data,
        metric=options.metric,
        floor=options.floor,
        seed=own_seed if options.seed is None else options.seed,
    )


def _metric(text: str) -> str:
    if text not in ("", *BUILT_IN) and split_torch(text) is None:
        raise argparse.ArgumentTypeError(f"expected {', '.join(BUILT_IN)} or file.py:function, found {text!r}")
    return text


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**32 - 1}, found {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {_MOST}, found {text!r}")
    return int(text)
