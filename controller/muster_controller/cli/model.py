"""muster model add | ls | show | rm | check | export"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from muster.models import Model
from muster.operation import Operation
from muster_controller.cli.local_sources import check_file, local_data, local_source
from muster_controller.cli.options import Output, Timeout, Wait, Yes, chosen, confirm, fleet
from muster_controller.cli.output import Format, cell, emit, emit_one, err, out, shown
from muster_controller.cli.progress import meter
from muster_controller.cli.waiting import follow_operation
from muster_protos.errors import NotFoundError, UsageError, as_usage
from muster_protos.ids import check_id

app = typer.Typer(help="Models and their variants.", no_args_is_help=True)

COLUMNS = {
    "MODEL": "model_id",
    "VERSION": "version",
    "TASK": "signature.task",
    "METRIC": "signature.metric",
    "LABELLED": "is_labelled",
    "SOURCE": "source",
    "CREATED": "created_at_ns",
}
VARIANTS = {
    "VARIANT": "manifest.name",
    "FORMAT": "manifest.format",
    "PRECISION": "manifest.precision",
    "SIZE": "manifest.artifact.size_bytes",
    "ACCURACY": "manifest.accuracy.value",
    "CI LOW": "manifest.accuracy.ci_low",
    "CI HIGH": "manifest.accuracy.ci_high",
    "AGREEMENT": "manifest.accuracy.agreement",
    "N": "manifest.accuracy.n",
    "PARENT": "manifest.parent_variant_id",
    "DROPPED": "dropped_reason",
}
Reference = Annotated[str, typer.Argument(help="name or name:version")]


@app.command("add")
def add(
    source: Annotated[
        str, typer.Argument(help="An ONNX or TFLite file, or file.py:function that makes a torch model.")
    ],
    name: Annotated[str, typer.Option(help="The model's name.")] = "",
    variant_of: Annotated[str, typer.Option(help="Add the file as a variant of this model instead.")] = "",
    data: Annotated[str, typer.Option(help="An .npz with inputs and labels, or builtin:digits.")] = "",
    metric: Annotated[str, typer.Option(help="What the labels are judged by; decided from them when absent.")] = "",
    class_label: Annotated[list[str] | None, typer.Option(help="A class name, in order, repeatable.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --variant-of: take it although its outputs disagree.")
    ] = False,
    wait: Wait = True,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """Import a model (the file's content decides its format), or a ready-made variant of one."""
    if not name:
        raise typer.BadParameter("expected --name", param_hint="--name")
    with as_usage():
        check_id(name, "--name")
    if force and not variant_of:
        raise typer.BadParameter("expected --variant-of with it", param_hint="--force")
    form = chosen(output)
    with fleet() as found, local_source(source, name, data) as path:
        known = found.models.get(variant_of) if variant_of else None
        with meter("send") as bar:

            def on_bytes(done: int, size: int) -> None:
                bar.show(done / max(size, 1), "sending")

            operation: Operation[Any] = (
                known.add_variant(path, name, on_bytes, force=force)
                if known is not None
                else found.models.add(
                    path, name, local_data(data), metric, class_label or (), Path(source).name, on_bytes
                )
            )
        done = follow_operation(operation, wait, timeout, form)
        if done is not None:
            for line in done.remarks:
                err().print(line, markup=False)
            _show_model(found.models.get(variant_of or name), form)


@app.command("ls")
def ls(output: Output = None) -> None:
    """List models, the newest version of each."""
    with fleet() as found:
        models = [model.fields for model in found.models.list()]
    emit(models, chosen(output), COLUMNS, "no model yet: muster model add examples/digits.py:make --name digits")


@app.command("show")
def show(model: Reference, output: Output = None) -> None:
    """Show a model's face and its variants."""
    with fleet() as found:
        _show_model(found.models.get(model), chosen(output))


_VARIANT = re.compile(r".+\.v\d+\..+")


@app.command("rm")
def rm(model: Reference, yes: Yes = False) -> None:
    """Remove a model with all its versions and variants."""
    with fleet() as found:
        try:
            known = found.models.get(model)
        except NotFoundError as error:
            if _VARIANT.fullmatch(model) is None:
                raise
            raise UsageError(
                f"expected a model, found what looks like the variant {model}: variants cannot be removed alone, only "
                "with their model"
            ) from error
        confirm(f"remove every version of {known.id}?", yes)
        found.models.remove(known.id)
    err().print(f"{known.id} is removed")


@app.command("export")
def export(
    variant: Annotated[str, typer.Argument(help="A variant id, <model>.v<version>.<name>.")],
    to: Annotated[Path | None, typer.Option(help="Where to; the variant's own name here when absent.")] = None,
) -> None:
    """Write a variant's file."""
    with fleet() as found:
        fields = found.connection.get(f"/v1/variants/{variant}")
        target = to or Path(f"{variant}.{fields['manifest']['format']}")
        found.models.export(variant, target)
    out().print(str(target), markup=False)


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="A model file.")],
    output: Output = None,
) -> None:
    """Check a file in a child process; no controller is needed. Exit 0 when it is accepted, else 1."""
    form = chosen(output)
    verdict = check_file(file)
    columns = {name: name for name in ("verdict", "format", "precision", "reason", "inputs", "outputs")}
    row = verdict if form in (Format.JSON, Format.JSONL) else {**verdict, **_tensors(verdict)}
    emit_one(row, form, columns)
    if verdict["verdict"] != "accepted":
        raise typer.Exit(1)


def _tensors(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Inputs and outputs, a text each."""
    return {
        side: [f"{tensor['name']} {tensor['dtype']} {tensor['shape']}" for tensor in found[side]]
        for side in ("inputs", "outputs")
    }


def _show_model(model: Model, form: Format) -> None:
    variants = [variant.fields for variant in model.variants(only_kept=False)]
    if form in (Format.JSON, Format.JSONL):
        emit_one({**model.fields, "variants": variants}, form, COLUMNS)
        return
    if form is Format.CSV:
        emit(variants, form, VARIANTS)
        return
    size = shown(cell(variants[0], "manifest.artifact.size_bytes"), "size_bytes") if variants else "-"
    labelled = "labelled" if model.fields["is_labelled"] else "not labelled"
    out().print(f"{model.reference}  {model.fields['source']}  {size}  data {labelled}", markup=False, style="bold")
    for side, tensors in _tensors(model.fields["signature"]).items():
        for tensor in tensors:
            out().print(f"  {side[:-1]:7} {tensor}", markup=False, soft_wrap=True)
    emit(variants, form, VARIANTS)
