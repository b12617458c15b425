"""``muster-compress``: compression alone, without any fleet. Data on stdout, progress and errors on stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from muster_compression import report
from muster_compression.artifact import write_bytes
from muster_compression.cache import cache_dir
from muster_compression.cli_run import run, search, source_arguments
from muster_compression.comparing import differences, table, verdict
from muster_compression.disk_fault import disk_fault
from muster_compression.ending import TerminatedError, ending_cleanly
from muster_compression.page.build import page_of
from muster_compression.recipe import load_recipe, recipe_text, template_names
from muster_compression.run_file import load_run
from muster_protos.errors import MusterError, as_usage

_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, do, print; errors become one line and their exit code (docs/exit-codes.md)."""
    options = _parser().parse_args(arguments)
    try:
        with ending_cleanly():
            status: int = options.do(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted; nothing half-made was left", file=sys.stderr)
        return _INTERRUPTED
    except TerminatedError:
        print("ended by SIGTERM; nothing half-made was left", file=sys.stderr)
        return _TERMINATED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MusterError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if options.debug:
            raise
        out_dir = getattr(options, "out", None) or Path.cwd()
        print(f"error: {disk_fault(error, out_dir, cache_dir())}", file=sys.stderr)
        return 1
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

    verb = _command(commands, "run", run, "import a model and run a recipe on it")
    source_arguments(verb)
    verb.add_argument("--recipe", default="quick", help="a template or a YAML file (default: quick)")

    verb = _command(commands, "search", search, "try a recipe's free parameters under a budget, keep the frontier")
    source_arguments(verb)
    verb.add_argument("--recipe", required=True, help="a YAML file with free parameters")
    verb.add_argument("--budget", default="20", help="points (20) or time (90s, 30m, 2h); the default is 20 points")

    recipes = _command(commands, "recipes", _recipes, "the recipes that ship with Muster")
    recipes.add_argument(
        "name", nargs="?", default="", help="print this one as YAML that can be saved, changed and run"
    )

    show = _command(commands, "show", _show, "everything that is known of a variant")
    show.add_argument("variant", type=Path, help="a variant's file, or an output folder of `run` to list what is in it")

    compare = _command(commands, "compare", _compare, "two variants side by side")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)

    page = _command(commands, "report", _report, "one offline HTML page of an output folder")
    page.add_argument("folder", type=Path, metavar="DIR", help="output folder of `run` or `search`")
    page.add_argument("--to", type=Path, help="the page's file (default: DIR/report.html)")
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


def _recipes(options: argparse.Namespace) -> int:
    names = [options.name] if options.name else template_names()
    with as_usage():
        recipes = [load_recipe(name) for name in names]
    if options.output == "json":
        print(json.dumps([recipe.model_dump(mode="json", by_alias=True) for recipe in recipes], indent=2))
    elif options.name:
        print(report.in_full(recipes[0], recipe_text(options.name)))
    else:
        for recipe in recipes:
            print(report.in_one_line(recipe))
    return 0


def _show(options: argparse.Namespace) -> int:
    if options.variant.is_dir():
        return _show_all(options)
    manifest = report.manifest_of(options.variant)
    fate = report.fate_of(options.variant, manifest)
    if options.output == "json":
        told = report.facts_of(manifest) | {"steps": report.steps_json(fate.steps), "dropped": fate.dropped}
        print(json.dumps(told, indent=2))
    else:
        print(table(manifest))
        for step in fate.steps:
            print(f"{step.pass_name:<24} {step.effect}")
        if fate.dropped:
            print(f"dropped: {fate.dropped}")
    return 0


def _show_all(options: argparse.Namespace) -> int:
    found = report.listing(load_run(options.variant))
    if options.output == "json":
        print(json.dumps(found, indent=2))
    else:
        for item in found:
            print(
                f"{item['name']:<24} {item['path'] or '-'}" + ("" if item["kept"] else f"  dropped: {item['reason']}")
            )
    return 0


def _compare(options: argparse.Namespace) -> int:
    a, b = report.manifest_of(options.a), report.manifest_of(options.b)
    fates = {"A": report.fate_of(options.a, a).dropped, "B": report.fate_of(options.b, b).dropped}
    if options.output == "json":
        found = [dataclasses.asdict(item) for item in differences(a, b)]
        told = {"a": report.facts_of(a), "b": report.facts_of(b), "differences": found, "verdict": verdict(a, b)}
        told["dropped"] = {key.lower(): reason for key, reason in fates.items()}
        print(json.dumps(told, indent=2))
    else:
        print(table(a, b))
        print(verdict(a, b))
        for key, reason in fates.items():
            print(f"{key} dropped: {reason}" if reason else "", end="\n" if reason else "")
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
