"""``muster-compress``: compression alone, without any fleet. Data on stdout, progress and errors on stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from muster_compression import report
from muster_compression.artifact import write_bytes
from muster_compression.comparing import differences, table, verdict
from muster_compression.floor import Floor, check_reachable, parse_floor
from muster_compression.import_model import ImportedModel, import_model
from muster_compression.page.build import page_of
from muster_compression.progress import Progress
from muster_compression.recipe import load_recipe, parse_recipe, recipe_text, template_names
from muster_compression.run_file import Asked, load_run, run_of, save_run
from muster_compression.run_recipe import run_recipe
from muster_compression.search.budget import parse_budget
from muster_compression.search.evaluate import Asked as SearchOrder
from muster_compression.search.run_search import run_search
from muster_compression.search.space import load_space
from muster_compression.sources.kind import split_torch
from muster_protos.errors import MusterError, as_usage
from muster_protos.ids import check_id
from muster_protos.metric_names import BUILT_IN

_INTERRUPTED, _PARTIAL = 130, 8
_MOST = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, do, print; errors become one line and their exit code (docs/exit-codes.md)."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.do(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted; nothing half-made was left", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MusterError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # the outermost loop: a user sees one line, --debug the trace
        if options.debug:
            raise
        print(f"error: unexpected {type(error).__name__}: {error} (--debug shows the trace)", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster-compress", description="From one model to many variants.")
    parser.add_argument("--version", action=_Version, nargs=0, help="say it")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "import a model and run a recipe on it")
    _source_arguments(run)
    run.add_argument("--recipe", default="quick", help="a template or a YAML file (default: quick)")

    search = _command(commands, "search", _search, "try a recipe's free parameters under a budget, keep the frontier")
    _source_arguments(search)
    search.add_argument("--recipe", required=True, help="a YAML file with free parameters")
    search.add_argument("--budget", default="20", help="points (20) or time (90s, 30m, 2h); the default is 20 points")

    recipes = _command(commands, "recipes", _recipes, "the recipes that ship with Muster")
    recipes.add_argument("name", nargs="?", default="", help="show this one in full")

    show = _command(commands, "show", _show, "everything that is known of a variant")
    show.add_argument("variant", type=Path, help="a variant file in an output folder of `run`")

    compare = _command(commands, "compare", _compare, "two variants side by side")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)

    page = _command(commands, "report", _report, "one offline HTML page of an output folder")
    page.add_argument("folder", type=Path, metavar="DIR", help="output folder of `run` or `search`")
    page.add_argument("--to", type=Path, help="the page's file (default: DIR/report.html)")
    return parser


def _source_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--seed", type=_seed, default=0, help="0 or a positive whole number")
    parser.add_argument(
        "--train-epochs",
        type=_count,
        default=0,
        help="train what file.py:function returns first (default: it is trained)",
    )
    parser.add_argument("--threads", type=_count, default=0, help="to train with; other numbers may give other weights")
    parser.add_argument("--no-latency", action="store_true", help="do not measure on this host")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    do: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.set_defaults(do=do)
    return parser


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


def _run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    with as_usage():  # what is misspelt is found before the model is trained
        text = recipe_text(options.recipe)
        floor = parse_floor(options.floor or parse_recipe(text, Path(options.recipe).name).floor)
    with Progress() as progress:
        imported = _import(options, floor, progress.part(0.0, 0.4))
        result = run_recipe(
            imported.parent,
            options.recipe,
            options.out,
            progress.part(0.4, 0.6),
            floor=options.floor,
            seed=options.seed,
            measure_latency=not options.no_latency,
            own_metric=own_metric_of(options.metric),
            threads=options.threads,
        )
    run = run_of(_asked(options, text), imported, result, time.monotonic() - started)
    report.save_manifests(options.out, imported, result)
    save_run(options.out, run)
    print(json.dumps(report.as_json(run), indent=2) if options.output == "json" else report.as_tree(run))
    for note in run.notes:
        print(f"note: {note}", file=sys.stderr)
    return _PARTIAL if run.failed or not all(row.kept for row in run.variants) else 0


def _search(options: argparse.Namespace) -> int:
    started = time.monotonic()
    with as_usage():
        budget, space = parse_budget(options.budget), load_space(options.recipe)
        floor = parse_floor(options.floor or space.recipe({}).floor)
    with Progress() as progress:
        imported = _import(options, floor, progress.part(0.0, 0.1))
        asked = SearchOrder(
            options.out,
            options.floor,
            options.seed,
            own_metric_of(options.metric),
            options.threads,
            not options.no_latency,
        )
        try:
            found = run_search(imported, space, budget, asked, progress.part(0.1, 0.9))
        except KeyboardInterrupt:
            print(f"points so far are kept in {options.out}; the same command goes on", file=sys.stderr)
            raise
    text = recipe_text(options.recipe)
    run = run_of(_asked(options, text), imported, found.result, time.monotonic() - started, found.summary)
    report.save_manifests(options.out, imported, found.result)
    save_run(options.out, run)
    print(json.dumps(report.as_json(run), indent=2) if options.output == "json" else report.as_tree(run))
    for note in run.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _import(
    options: argparse.Namespace, floor: Floor | None, on_progress: Callable[[float, str], None]
) -> ImportedModel:
    name = options.name or report.model_name(options.model)
    with as_usage():
        check_id(name, "model name")
    own_metric = own_metric_of(options.metric)
    imported = import_model(
        options.model,
        name,
        1,
        options.data,
        options.out,
        on_progress,
        metric="" if own_metric else options.metric,
        own_metric=own_metric,
        seed=options.seed,
        train_epochs=options.train_epochs,
        threads=options.threads,
    )
    if imported.manifest.accuracy is not None:
        with as_usage():
            check_reachable(floor, imported.manifest.accuracy)
    return imported


def own_metric_of(metric: str) -> str:
    """``--metric`` when it names a function of the user's."""
    return metric if split_torch(metric) is not None else ""


def _asked(options: argparse.Namespace, recipe_yaml: str) -> Asked:
    return Asked(
        source=options.model,
        recipe=options.recipe,
        recipe_yaml=recipe_yaml,
        data=options.data,
        metric=options.metric,
        floor=options.floor,
        seed=options.seed,
    )


def _recipes(options: argparse.Namespace) -> int:
    names = [options.name] if options.name else template_names()
    with as_usage():
        recipes = [load_recipe(name) for name in names]
    if options.output == "json":
        print(json.dumps([recipe.model_dump(mode="json", by_alias=True) for recipe in recipes], indent=2))
    else:
        for recipe in recipes:
            print(report.chains(recipe, is_full=bool(options.name)))
    return 0


def _show(options: argparse.Namespace) -> int:
    manifest = report.manifest_of(options.variant)
    steps = report.steps_of(options.variant.parent, manifest.variant_id)
    if options.output == "json":
        print(json.dumps(report.facts_of(manifest) | {"steps": report.steps_json(steps)}, indent=2))
    else:
        print(table(manifest))
        for step in steps:
            print(f"{step.pass_name:<24} {step.effect}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    a, b = report.manifest_of(options.a), report.manifest_of(options.b)
    if options.output == "json":
        found = [dataclasses.asdict(item) for item in differences(a, b)]
        told = {"a": report.facts_of(a), "b": report.facts_of(b), "differences": found, "verdict": verdict(a, b)}
        print(json.dumps(told, indent=2))
    else:
        print(table(a, b))
        print(verdict(a, b))
    return 0


def _report(options: argparse.Namespace) -> int:
    run = load_run(options.folder)
    path = options.to or options.folder / "report.html"
    write_bytes(path, page_of(run).encode())
    print(json.dumps({"path": str(path)}) if options.output == "json" else path)
    return 0


class _Version(argparse.Action):
    """Say the version and end; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("muster-edge")
        except PackageNotFoundError:  # run from a source tree that is not installed
            found = "0+unknown"
        print(f"muster-compress {found}")
        parser.exit()
