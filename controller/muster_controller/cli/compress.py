"""muster compress"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from muster.fleet import Fleet
from muster.models import Model, Variant
from muster.operation import DROPPED, NOT_MADE, OperationView
from muster_controller.cli.layout import wrapped
from muster_controller.cli.local_compress import LocalRun, compress_here
from muster_controller.cli.options import Output, Timeout, Wait, chosen, fleet
from muster_controller.cli.output import Format, emit, err, out, shown_bytes, terminal_width
from muster_controller.cli.quality import quality
from muster_controller.cli.waiting import follow_operation
from muster_protos.errors import NotFoundError

PARTIAL = 8


def register(app: typer.Typer) -> None:
    app.command("compress")(compress)


def compress(
    model: Annotated[str, typer.Argument(help="name or name:version")],
    recipe: Annotated[str, typer.Option("-r", "--recipe", help="A recipe's name, or a YAML file.")] = "quick",
    floor: Annotated[str, typer.Option(help="Drop variants below: 0.88, -0.01 (points) or 0.99rel.")] = "",
    source: Annotated[
        str,
        typer.Option("--model", help="The torch module behind it (file.py:function or .pt2): the recipe runs here."),
    ] = "",
    data: Annotated[str, typer.Option(help="With --model: data.npz, data.py:function or builtin:digits.")] = "",
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Make smaller, faster variants of a model: on the controller's host, or here from its torch module (--model),
    which the controller never runs. Exit 8 when one could not be made, or is under the floor."""
    form = chosen(output)
    if data and not source:
        raise typer.BadParameter("expected --model with it", param_hint="--data")
    with fleet() as found:
        known = found.models.get(model)
        if source:
            _compress_here(found, known, _recipe(recipe), floor, source, data, form)
            return
        operation = known.compress(_recipe(recipe), {"accuracy": floor} if floor else None)
        done = follow_operation(operation, wait, timeout, form)
        if done is None:
            return
        variants = known.variants(only_kept=False)
        for line in done.remarks:
            if form is not Format.TABLE or not line.startswith(DROPPED):  # a table shows them below the kept ones
                err().print(line, markup=False)
    _show(known.reference, variants, done, form)


def _compress_here(
    found: Fleet, known: Model, recipe: str | Path, floor: str, source: str, data: str, form: Format
) -> None:
    """On this machine, from the torch module."""
    run = compress_here(found.models, known, recipe, floor, source, data)
    for prefix, lines in ((DROPPED, run.dropped), (NOT_MADE, run.not_made), ("note: ", run.notes)):
        for line in lines:
            err().print(prefix + line, markup=False)
    _show(known.reference, known.variants(only_kept=False), run, form)


def _show(reference: str, variants: list[Variant], done: OperationView | LocalRun, form: Format) -> None:
    """The variants there are; exit 8 when the recipe gave less than it names."""
    if form is not Format.TABLE:
        emit([variant.fields for variant in variants], form, {"VARIANT": "manifest.name", "KEPT": "is_kept"})
    else:
        _tree(reference, variants, frozenset(done.judged))
    _say_partial(done.not_made, done.dropped, sum(variant.is_kept for variant in variants))


def _say_partial(not_made: Sequence[str], dropped: Sequence[str], kept: int) -> None:
    """One line and exit 8 when the recipe gave less than it names."""
    parts = []
    if not_made:
        names = ", ".join(line.partition(":")[0] for line in not_made)
        parts.append(f"{len(not_made)} not made ({names})")
    if dropped:
        names = ", ".join(line.partition(" (")[0] for line in dropped)
        parts.append(f"{len(dropped)} dropped for the floor ({names})")
    if parts:
        err().print(f"{', '.join(parts)}; {kept} variants are kept", markup=False)
        raise typer.Exit(PARTIAL)


def _recipe(text: str) -> str | Path:
    """A name, or a file when it looks like one."""
    if not text.endswith((".yaml", ".yml")):
        return text
    path = Path(text)
    if not path.is_file():
        raise NotFoundError(f"expected a recipe at {path}, found nothing")
    return path


def _tree(reference: str, variants: list[Variant], judged: frozenset[str]) -> None:
    """What this run judged has a tick or stands below; the others are named as not part of it."""
    kept = [variant for variant in variants if variant.is_kept]
    baseline, *others = kept
    out().print(f"{reference:12} {_figures(baseline)}   baseline", markup=False)
    for number, variant in enumerate(others):
        branch = "└─" if number == len(others) - 1 else "├─"
        mark = "✓" if variant.name in judged else "(not part of this run)"
        out().print(f" {branch} {_figures(variant)}   {mark}", markup=False)
    for variant in variants:
        if not variant.is_kept:
            other = "" if variant.name in judged else " (not part of this run)"
            line = f"{DROPPED}{_figures(variant)}   {variant.fields['dropped_reason']}{other}"
            out().print(wrapped(line, terminal_width(), indent=len(DROPPED)), markup=False, soft_wrap=True)


def _figures(variant: Variant) -> str:
    size = shown_bytes(variant.manifest["artifact"]["size_bytes"])
    return f"{variant.name:22} {quality(variant.manifest['accuracy'] or {}):36} {size:>9}"
