"""What every template makes of real tasks: against goals, controls and other tools.

    python -m benchmarks.compression --data-folder DIR [--task mnist] [--template edge] [-o json] [--write]

The data folder holds vision/mnist_dev.npz, vision/cifar10_jpeg_dev.npz and audio/fsdd_dev.npz. First everything is
trained and compressed, as many tasks at once as there are cores, each on one; then everything is measured, one after
the other. Everything is kept in --cache: killed, it goes on where it was; run again, it takes minutes. --share 0.1
takes a tenth of all epochs, to try it: such figures are no result. --write replaces docs/compression-results.md, after
the whole benchmark only.
"""

# In scope: data and teachers, every template through the product's own API, whole test sets, latency in pairs, tables.
# Not in scope: how anything is compressed; that is ``muster_compression``, which knows nothing of this.
# This folder has no __init__.py: other benchmarks run with benchmarks/ on their path, where a package of this name
# would hide the standard library's ``compression`` (Python 3.14).

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.compression.plan import Part
from benchmarks.compression.rows import Report
from benchmarks.compression.tables import document, markdown
from benchmarks.compression.tasks import TASKS
from benchmarks.compression.together import make_together
from benchmarks.compression.whole import ROUNDS, Asked, benchmark, make, parts_of
from benchmarks.rig.machine import tell_machine
from muster_compression.artifact import write_bytes
from muster_compression.cache import cache_dir
from muster_compression.recipe import template_names
from muster_protos.errors import MusterError

_PAGE = Path(__file__).parents[2] / "docs" / "compression-results.md"
_FIGURES = Path(__file__).with_name("results.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the page when that was asked for and everything ran."""
    options = _parser().parse_args(arguments)
    asked = Asked(
        data_folder=options.data_folder,
        cache=options.cache or cache_dir().parent / "bench-compression",
        tasks=tuple(name for name in TASKS if not options.task or name in options.task),
        templates=tuple(options.template or ()),
        has_sides=not options.no_sides,
        seed=options.seed,
        share=options.share,
        rounds=options.rounds,
    )
    if options.plan:
        _tell_plan(parts_of(asked))
        return 0
    tell_machine()
    try:
        if options.only_make:
            failed = make(asked)
            print("\n".join(failed), file=sys.stderr)
            return 1 if failed else 0
        began_s = time.monotonic()
        make_together(asked, sys.argv[1:] if arguments is None else arguments)
        report = benchmark(asked, time.monotonic() - began_s)
    except MusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, the same command goes on there", file=sys.stderr)
        return 130
    print(json.dumps(dataclasses.asdict(report), indent=2) if options.output == "json" else markdown(report))
    if options.write and report.is_whole:
        write_bytes(_PAGE, document(report).encode())
        write_bytes(_FIGURES, TypeAdapter(Report).dump_json(report, indent=1) + b"\n")
        print(f"wrote {_PAGE.name} and {_FIGURES.name}", file=sys.stderr)
    elif options.write:
        print(f"{_PAGE.name} stays as it is: that takes every task and template in full", file=sys.stderr)
    return 1 if report.missing or any(run.failed for run in report.runs) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="default: beside the product's own cache")
    parser.add_argument("--task", action="append", choices=list(TASKS), help="may be repeated; default: all")
    parser.add_argument(
        "--template", action="append", type=_template, metavar="NAME|FILE.yaml", help="may be repeated; default: all"
    )
    parser.add_argument("--no-sides", action="store_true", help="without the comparisons with other tools")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=_share, default=1.0, help="of all epochs, above 0 and at most 1")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each latency pair (default: {ROUNDS})")
    parser.add_argument("--only-make", action="store_true", help="train and compress; measure nothing")
    parser.add_argument("--plan", action="store_true", help="say what each part may take, and end")
    parser.add_argument("--write", action="store_true", help=f"write docs/{_PAGE.name} and {_FIGURES.name}")
    parser.add_argument("-o", "--output", choices=["markdown", "json"], default="markdown")
    return parser


def _tell_plan(parts: Sequence[Part]) -> None:
    """Minutes on one thread, from nothing; as many tasks run at once as there are cores."""
    for part in parts:
        print(f"{part.planned_s / 60:6.1f} min  {part.name}")
    print(f"{sum(part.planned_s for part in parts) / 60:6.1f} min  in all")


def _template(text: str) -> str:
    known = sorted({name for task in TASKS.values() for name in task.templates} | set(template_names()))
    if text.endswith(".yaml"):
        return str(Path(text).resolve())
    if text not in known:
        raise argparse.ArgumentTypeError(f"expected {', '.join(known)} or a YAML file, found {text!r}")
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, found {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
