"""``muster-compress``: compression alone, without any fleet. Data on stdout, progress and errors on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from muster_compression import report
from muster_compression.floor import check_reachable, parse_floor
from muster_compression.import_model import import_model
from muster_compression.recipe import load_recipe, template_names
from muster_compression.run_recipe import run_recipe
from muster_compression.sources.kind import split_torch
from muster_protos.errors import MusterError, as_usage
from muster_protos.ids import check_id
from muster_protos.metric_names import BUILT_IN

_INTERRUPTED, _PARTIAL = 130, 8


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
    run.add_argument("--model", required=True, help="an .onnx or .tflite file, or file.py:function for torch")
    run.add_argument(
        "--data", default="", help="data.npz, data.py:function or builtin:digits; without it only agreement is known"
    )
    run.add_argument("--recipe", default="quick", help="a template or a YAML file (default: quick)")
    run.add_argument("--floor", default="", help="0.88, -0.01 or 0.99rel; variants under it are dropped")
    run.add_argument("--out", required=True, type=Path, help="folder for the variants")
    run.add_argument("--name", default="", help="of the model (default: from its file)")
    run.add_argument(
        "--metric", default="", type=_metric, help=f"{', '.join(BUILT_IN)}, or metrics.py:function(predictions, labels)"
    )
    run.add_argument("--seed", type=_seed, default=0, help="0 or a positive whole number")
    run.add_argument("--no-latency", action="store_true", help="do not measure on this host")

    recipes = _command(commands, "recipes", _recipes, "the recipes that ship with Muster")
    recipes.add_argument("name", nargs="?", default="", help="show this one in full")

    show = _command(commands, "show", _show, "everything that is known of a variant")
    show.add_argument("variant", type=Path, help="a variant file in an output folder of `run`")

    compare = _command(commands, "compare", _compare, "two variants side by side")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    return parser


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


def _run(options: argparse.Namespace) -> int:
    name = options.name or report.model_name(options.model)
    with as_usage():  # what is misspelt is found before the model is trained
        recipe = load_recipe(options.recipe)
        floor = parse_floor(options.floor or recipe.floor)
        check_id(name, "model name")
    is_own = split_torch(options.metric) is not None
    progress = _Progress()
    imported = import_model(
        options.model,
        name,
        1,
        options.data,
        options.out,
        progress.part(0.0, 0.4),
        metric="" if is_own else options.metric,
        own_metric=options.metric if is_own else "",
        seed=options.seed,
    )
    if imported.manifest.accuracy is not None:
        with as_usage():
            check_reachable(floor, imported.manifest.accuracy)
    result = run_recipe(
        imported.parent,
        options.recipe,
        options.out,
        progress.part(0.4, 0.6),
        floor=options.floor,
        seed=options.seed,
        measure_latency=not options.no_latency,
        own_metric=options.metric if is_own else "",
    )
    progress.end()
    report.save_manifests(options.out, imported, result)
    if options.output == "json":
        print(json.dumps(report.as_json(imported, result), indent=2))
    else:
        print(report.as_tree(imported, result))
    for note in (*imported.notes, *result.notes):
        print(f"note: {note}", file=sys.stderr)
    return _PARTIAL if result.failed or not all(item.is_kept for item in result.variants) else 0


def _recipes(options: argparse.Namespace) -> int:
    names = [options.name] if options.name else template_names()
    with as_usage():
        recipes = [load_recipe(name) for name in names]
    if options.output == "json":
        print(json.dumps([recipe.model_dump(mode="json", by_alias=True) for recipe in recipes], indent=2))
    else:
        for recipe in recipes:
            print(report.recipe_text(recipe, is_full=bool(options.name)))
    return 0


def _show(options: argparse.Namespace) -> int:
    facts = report.facts_of(options.variant)
    print(json.dumps(facts, indent=2) if options.output == "json" else report.columns([facts]))
    return 0


def _compare(options: argparse.Namespace) -> int:
    facts = [report.facts_of(options.a), report.facts_of(options.b)]
    print(json.dumps(facts, indent=2) if options.output == "json" else report.columns(facts))
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


class _Progress:
    """One line on stderr that is rewritten; nothing when stderr is no terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._width = 0

    def part(self, start: float, share: float) -> Callable[[float, str], None]:
        """Progress of one part of the whole."""
        return lambda ratio, note: self._show(start + share * ratio, note)

    def _show(self, ratio: float, note: str) -> None:
        if self._is_shown:
            line = f"{ratio:4.0%} {note}"[:100]
            print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def end(self) -> None:
        """Leave the line."""
        if self._is_shown and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
