"""torch form to TFLite file."""

from __future__ import annotations

from muster_compression.passes.port import Form, PassContext, PassError, PassOutput, PassRecord, Settings, WorkingModel


class ExportTfliteSettings(Settings):
    """Nothing to set."""


SETTINGS = ExportTfliteSettings


def apply(model: WorkingModel, settings: ExportTfliteSettings, context: PassContext) -> PassOutput:
    """Convert with fixed shapes; images become NHWC, which the binding bridges.

    Raises:
        MissingExtraError: litert-torch is not installed.
        PassError: an operator cannot be converted; it is named.
    """
    del settings
    from muster_compression.graph.tflite_facts import tflite_facts
    from muster_compression.sources.torch_form import exportable
    from muster_compression.sources.torch_to_tflite import export_tflite
    from muster_protos.errors import InvalidInputError

    try:
        path = export_tflite(exportable(model, context), context.folder / "exported.tflite")
    except InvalidInputError as error:
        raise PassError(str(error)) from error
    count = sum(tflite_facts(path).operators.values())
    return PassOutput(
        WorkingModel(path, Form.TFLITE),
        PassRecord("export-tflite", f"{count} operators", ("torch", "litert-torch")),
    )
