"""What every quantizing pass of TFLite files does around the library: refuse, write, try, count."""

from __future__ import annotations

from pathlib import Path

from muster_compression.artifact import write_bytes
from muster_compression.checking import checked_format
from muster_compression.graph.tflite_facts import tflite_facts, tflite_weights
from muster_compression.graph.tflite_quantize import QUANTIZER_ERRORS, Rule, quantize
from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_protos.errors import InvalidInputError

TOOLS = ("ai-edge-quantizer", "ai-edge-litert")


def check_float(model: WorkingModel, pass_name: str) -> None:
    """Raises ``PassError`` unless the file's weights are float32."""
    found = tflite_facts(model.path).precision
    if found not in ("fp32", "fp64"):
        raise PassError(f"{pass_name} expected a float32 model, found {found or 'no weights'}")


def refusal(pass_name: str, error: Exception) -> PassError:
    """The library's own words, in a line."""
    return PassError(f"{pass_name} cannot take this model: {' '.join(str(error).split())[:300]}")


def packed_weights(
    model: WorkingModel, rule: Rule, name: str, precision: str, pass_name: str, context: PassContext
) -> PassOutput:
    """The file with its weights stored as ``rule`` says, arithmetic in floats.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        PassError: a model that is not in float32, or nothing changed.
    """
    check_float(model, pass_name)
    try:
        payload = quantize(model.path, [rule])
    except QUANTIZER_ERRORS as error:
        raise refusal(pass_name, error) from error
    advice = "it has no product or convolution with weights"
    return finish(payload, name, precision, 0.0, pass_name, context, advice)


def finish(
    payload: bytes,
    name: str,
    precision: str,
    least_share: float,
    pass_name: str,
    context: PassContext,
    advice: str,
    calibration_count: int = 0,
) -> PassOutput:
    """Write the file, count its weights, and execute it once in a child: runtimes crash on what they do not know.

    Raises:
        PassError: fewer than ``least_share`` of the weights became ``precision`` (``advice`` follows), or the runtime
            here does not execute the file.
    """
    path = write_bytes(context.folder / f"{name}.tflite", payload)
    weights = tflite_weights(path)
    total, changed = sum(weights.values()), weights.get(precision, 0)
    if changed == 0:
        raise PassError(f"{pass_name} changed nothing: none of {total} weights became {precision}; {advice}")
    if changed < least_share * total:
        raise PassError(
            f"{pass_name} expected to change at least {least_share:.0%} of the weights (least_share), "
            f"found {changed / total:.1%}: {_others(weights, precision)}; {advice}"
        )
    _try(path, pass_name)
    effect = f"{changed} of {total} weights are {precision}"
    if changed < total:
        effect += f" ({_others(weights, precision)})"
    figures: dict[str, float | int | str] = {f"weights_{key}": count for key, count in sorted(weights.items())}
    figures["weights"] = total
    record = PassRecord(pass_name, effect, TOOLS, "any", calibration_count, figures)
    return PassOutput(WorkingModel(path, Form.TFLITE), record)


def _others(weights: dict[str, int], precision: str) -> str:
    return ", ".join(f"{count} are {key}" for key, count in sorted(weights.items()) if key != precision)


def _try(path: Path, pass_name: str) -> None:
    try:
        checked_format(path, "its result")
    except InvalidInputError as error:
        raise PassError(f"{pass_name}: {error}") from error
