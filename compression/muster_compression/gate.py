"""What every model must pass between two passes: finite answers of the right shape, then the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muster_bench.dataset import columns, load_arrays
from muster_compression.checking import checked_format
from muster_compression.dataset.splits import Split
from muster_compression.face import bind, open_artifact
from muster_compression.floor import Floor, missed
from muster_compression.judge import Judgement, judge
from muster_compression.own_metric import OwnMetric, measured
from muster_compression.part_of import OnProgress
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_protos.errors import InvalidInputError
from muster_protos.model import Accuracy, Binding, Format, Signature


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the gate compares with; the same for a whole run."""

    signature: Signature
    evaluation_path: Path
    floor: Floor | None
    baseline_accuracy: Accuracy
    own_metric: OwnMetric | None
    threads: int


@dataclass(frozen=True, slots=True)
class Gated:
    """A model that could be judged; ``dropped_reason`` says why it ends here, "" = it goes on."""

    model: WorkingModel
    accuracy: Accuracy
    dropped_reason: str
    binding: Binding | None = None  # of a file that devices execute
    judgement: Judgement | None = None


def gate(rules: GateRules, model: WorkingModel, on_progress: OnProgress) -> Gated:
    """Judge ``model`` on the evaluation samples.

    Raises:
        PassError: it cannot be executed, or its outputs are not finite or have another shape than the signature's.
        FaceError: its tensors cannot be bound to the signature.
        ModelLoadError: the runtime refuses it.
    """
    try:
        if model.form is Form.TORCH:
            on_progress(0.0, "judging")
            return _judged(rules, Gated(model, _module_accuracy(rules, model), ""))
        return _judged(rules, _artifact(rules, model, on_progress))
    except InvalidInputError as error:
        raise PassError(str(error)) from error


def _judged(rules: GateRules, found: Gated) -> Gated:
    if rules.floor is None:
        return found
    reason = missed(rules.floor, found.accuracy, rules.baseline_accuracy)
    return Gated(found.model, found.accuracy, reason, found.binding, found.judgement)


def _artifact(rules: GateRules, model: WorkingModel, on_progress: OnProgress) -> Gated:
    """A file, as devices execute it."""
    from muster_compression.graph.facts import graph_facts

    format = checked_format(model.path, "the result")  # noqa: A001
    session = open_artifact(model.path, format)
    binding = bind(session, rules.signature)
    session.close()
    judgement = judge(
        model.path,
        format,
        rules.signature,
        binding,
        rules.evaluation_path,
        graph_facts(model.path, Format(model.form.value)).precision,
        lambda done, total: on_progress(done / total, f"judging: {done} of {total} samples"),
        own_metric=rules.own_metric,
    )
    return Gated(model, judgement.accuracy, "", binding, judgement)


def _module_accuracy(rules: GateRules, model: WorkingModel) -> Accuracy:
    """A torch form, asked directly in batches."""
    from muster_bench.evaluate import figures
    from muster_compression.torch_model import load_module
    from muster_compression.training.environment import reproducible
    from muster_compression.training.score import answers_of, outputs_of

    arrays = load_arrays(rules.evaluation_path)
    samples = Split(columns(arrays, "x_", rules.signature.inputs), arrays.get("y"))
    references = columns(arrays, "ref_", rules.signature.outputs)
    module = load_module(model)
    with reproducible(rules.threads):
        try:
            answers = answers_of(module, samples, rules.signature, references)
            shapes = [tuple(tensor.shape) for tensor in outputs_of(module, samples.take(np.arange(1)))]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise PassError(f"the result cannot be run: {' '.join(str(error).split())[:200]}") from error
    _check(answers.outputs, shapes, rules.signature)
    return measured(rules.own_metric, figures(rules.signature, answers), answers, rules.signature)


def _check(outputs: Mapping[str, np.ndarray], shapes: list[tuple[int, ...]], signature: Signature) -> None:
    for (name, values), shape, spec in zip(outputs.items(), shapes, signature.outputs, strict=True):
        if not np.isfinite(values).all():
            raise PassError(f"the result: expected finite outputs, found NaN or infinity in {name!r}")
        wanted = tuple(size if size > 0 else found for size, found in zip(spec.shape, shape, strict=False))
        if len(shape) != len(spec.shape) or wanted != shape:
            raise PassError(f"the result: expected {name!r} of shape {list(spec.shape)}, found {list(shape)}")
