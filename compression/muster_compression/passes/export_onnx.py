"""torch form to ONNX file."""

from __future__ import annotations

from pydantic import Field

from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel

_OLDEST_OPSET, _NEWEST_OPSET = 13, 23
_DEFAULT_OPSET = 18


class ExportOnnxSettings(Settings):
    """For which runtimes."""

    opset: int = Field(_DEFAULT_OPSET, ge=_OLDEST_OPSET, le=_NEWEST_OPSET)


SETTINGS = ExportOnnxSettings


def apply(model: WorkingModel, settings: ExportOnnxSettings, context: PassContext) -> PassOutput:
    """Export with the canonical names and shapes; the same weights and code give the same bytes.

    Raises:
        PassError: an operator cannot be exported (it is named), or not at this opset.
    """
    import onnx

    from muster_compression.sources.torch_form import exportable
    from muster_compression.sources.torch_to_onnx import export_onnx
    from muster_protos.errors import InvalidInputError

    try:
        path = export_onnx(exportable(model, context), context.folder / "exported.onnx", settings.opset)
    except InvalidInputError as error:
        raise PassError(str(error)) from error
    graph = onnx.load(str(path), load_external_data=False)
    found = next((item.version for item in graph.opset_import if item.domain in ("", "ai.onnx")), 0)
    if found != settings.opset:
        raise PassError(
            f"export-onnx: expected opset {settings.opset}, found that this model can only be exported at {found}; "
            f"leave opset at {_DEFAULT_OPSET} or newer"
        )
    return PassOutput(
        WorkingModel(path, Form.ONNX),
        PassRecord("export-onnx", f"{len(graph.graph.node)} operators, opset {found}", ("torch", "onnxscript", "onnx")),
    )
