"""Write down everything that is known of a variant."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster_compression.artifact import ref_of, transit_bytes, write_npz
from muster_compression.graph.facts import graph_facts
from muster_compression.judge import Judgement
from muster_protos.ids import variant_id
from muster_protos.model import Binding, Format, Signature, VariantManifest

_TOOLS = ("onnx", "onnxruntime", "onnxscript", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "numpy")


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a variant comes from."""

    model_id: str
    model_version: int
    name: str
    parent_variant_id: str = ""
    recipe: str = ""
    seed: int = 0
    target_hint: str = "any"
    tools: tuple[str, ...] = ()  # distributions that took part


def draft(path: Path, format: Format, signature: Signature, binding: Binding, lineage: Lineage) -> VariantManifest:  # noqa: A002
    """Everything but what only running it tells."""
    facts = graph_facts(path, format)
    return VariantManifest(
        variant_id=variant_id(lineage.model_id, lineage.model_version, lineage.name),
        model_id=lineage.model_id,
        model_version=lineage.model_version,
        name=lineage.name,
        parent_variant_id=lineage.parent_variant_id,
        recipe=lineage.recipe,
        seed=lineage.seed,
        artifact=ref_of(path),
        format=format,
        precision=facts.precision or _by_input(signature),
        params=facts.params,
        macs=facts.macs,
        sparsity=facts.sparsity,
        transit_bytes=transit_bytes(path),
        signature=signature,
        binding=binding,
        tool_versions=tool_versions(lineage.tools),
        target_hint=lineage.target_hint,
        created_at_ns=time.time_ns(),
        opset=facts.opset,
        operators=facts.operators,
    )


def judged(
    manifest: VariantManifest, judgement: Judgement, golden_path: Path, evaluation_path: Path
) -> VariantManifest:
    """Add accuracy, agreement and golden answers, which are written to ``golden_path``."""
    write_npz(golden_path, judgement.golden)
    return replace(
        manifest,
        accuracy=judgement.accuracy,
        sqnr_db=judgement.sqnr_db,
        golden=ref_of(golden_path),
        golden_max_abs_error=judgement.golden_max_abs_error,
        calibration_temperature=None if judgement.calibration is None else judgement.calibration.temperature,
        calibrated_ece=None if judgement.calibration is None else judgement.calibration.calibrated_ece,
        evaluation=ref_of(evaluation_path),
        tool_versions={**manifest.tool_versions, **judgement.runtime_versions},
    )


def tool_versions(names: tuple[str, ...] = _TOOLS) -> Mapping[str, str]:
    """Installed versions of the distributions named."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _by_input(signature: Signature) -> str:
    """A graph without stored weights computes in its inputs' type."""
    dtype = signature.inputs[0].dtype if signature.inputs else ""
    return {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8"}.get(dtype, "")
