"""Static int8 of a TFLite file with the most sensitive layers in float: greedy by measured sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from muster_compression.artifact import write_bytes
from muster_compression.checking import checked_format
from muster_compression.graph.tflite_bias import BiasShifts
from muster_compression.graph.tflite_quantize import QUANTIZER_ERRORS, Rule, exactly, quantize
from muster_compression.passes.calibration import choose, comparison
from muster_compression.passes.mixed_precision import MixedInt8Settings, account, find_mixture
from muster_compression.passes.port import PassContext, PassError, PassOutput, WorkingModel
from muster_compression.passes.tflite_file import check_float, finish, refusal
from muster_compression.passes.tflite_static_int8 import calibrated, shifts_of
from muster_compression.sensitivity.answers import answers_of
from muster_compression.sensitivity.closeness import Closeness, closeness
from muster_compression.sensitivity.layer import Unit
from muster_compression.sensitivity.tflite_layers import quantizable_units
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format

_NAME = "tflite-mixed-int8"


class TfliteMixedInt8Settings(MixedInt8Settings):
    """How to quantize, and when to stop leaving layers in float."""

    bias_correction: bool = True


SETTINGS = TfliteMixedInt8Settings


def apply(model: WorkingModel, settings: TfliteMixedInt8Settings, context: PassContext) -> PassOutput:
    """Quantize, with the layers in float that bring most for it.

    Outputs are compared on the holdout samples where there are any, else on calibration samples.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: no samples, a model that is quantized already, or nothing changed.
    """
    check_float(model, _NAME)
    rows = choose(context, settings.calibration_samples, _NAME)
    compare = _comparison(model.path, settings, context)
    try:
        signed, ranges = calibrated(model.path, context, rows)
        plain = quantize(signed, _all_but(()), ranges)
        _check_runs(plain, context.folder)
        shifts = shifts_of(signed, plain, context, rows) if settings.bias_correction else BiasShifts(signed, {})
        units = quantizable_units(signed)

        def made(rules: Sequence[Rule], spared: Iterable[str]) -> bytes:
            return quantize(shifts.applied(context.folder / "corrected.tflite", set(spared)), rules, ranges)

        def alone(unit: Unit) -> Closeness:
            others = set(shifts.by_output) - set(unit.operators)
            return compare(made([Rule("static", operators=exactly(unit.operators))], others))

        def without(operators: Iterable[str]) -> Closeness:
            return compare(made(_all_but(operators), operators))

        mixture = find_mixture(units, alone, without, settings, context)
        payload = made(_all_but(mixture.operators), mixture.operators)
    except QUANTIZER_ERRORS as error:
        raise refusal(_NAME, error) from error
    effect, figures = account(units, mixture, len(plain), len(payload))
    output = finish(payload, "mixed", "int8", 0.0, _NAME, context, "no operator of it has an 8-bit form", len(rows))
    figures = {**output.record.figures, **figures}
    record = replace(output.record, effect=effect, figures=figures, sensitivities=mixture.sensitivities)
    return PassOutput(output.model, record)


def _comparison(path: Path, settings: TfliteMixedInt8Settings, context: PassContext) -> Callable[[bytes], Closeness]:
    """A function that runs a candidate and says how close it is to the float file at ``path``."""
    samples, rows = comparison(context, settings.comparison_samples, _NAME)
    wanted = answers_of(path, Format.TFLITE, context.signature, samples, rows)
    scratch = context.folder / "candidate.tflite"

    def compare(candidate: bytes) -> Closeness:
        write_bytes(scratch, candidate)
        return closeness(wanted, answers_of(scratch, Format.TFLITE, context.signature, samples, rows))

    return compare


def _all_but(operators: Iterable[str]) -> list[Rule]:
    spared = exactly(operators)
    return [Rule("static"), Rule("float", operators=spared)] if spared else [Rule("static")]


def _check_runs(payload: bytes, folder: Path) -> None:
    """In a child: whatever follows runs in this process.

    Raises:
        PassError: the runtime here does not execute the fully quantized file.
    """
    path = write_bytes(folder / "plain.tflite", payload)
    try:
        checked_format(path, "the fully quantized file")
    except InvalidInputError as error:
        raise PassError(f"{_NAME}: {error}") from error
