"""torch module -> ONNX file whose bytes depend on nothing but the module."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from muster_compression.artifact import write_bytes
from muster_compression.graph.onnx_clean import strip
from muster_compression.sources.torch_module import TorchSource
from muster_protos.errors import InvalidInputError, PermanentError

OPSET = 18
"""Old enough for onnxruntime 1.14 and later (the oldest that devices here have is 1.17)."""

_LARGEST_BYTES = 2**31 - 1  # protobuf's own limit for one message
_REASON_CHARACTERS = 300


def export_onnx(source: TorchSource, path: Path) -> Path:
    """Export with fixed shapes (batch as in the example), weights inside, metadata and paths stripped.

    Raises:
        InvalidInputError: an operator cannot be exported; the message names it.
        PermanentError: the model is larger than an ONNX file can be.
    """
    with _quiet():
        try:
            program = torch.onnx.export(
                source.module,
                source.example_inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(source.input_names),
                output_names=list(source.output_names),
                verbose=False,
            )
        except Exception as error:
            raise InvalidInputError(f"{source.name} cannot be exported to ONNX: {_why(error)}") from error
    assert program is not None
    model = program.model_proto
    strip(model)
    if model.ByteSize() > _LARGEST_BYTES:
        raise PermanentError(f"{source.name}: {model.ByteSize()} bytes are more than an ONNX file can hold (2 GiB)")
    return write_bytes(path, model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own chatter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _why(error: BaseException) -> str:
    """The operator when one is named anywhere in the chain of causes, and the innermost reason."""
    texts = []
    current: BaseException | None = error
    while current is not None:
        texts.append(str(current))
        current = current.__cause__ or current.__context__
    operator = next((found.group() for text in texts if (found := re.search(r"aten[.:]+[\w.]+", text))), "")
    innermost = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", texts[-1]).split())[:_REASON_CHARACTERS]
    return f"operator {operator}: {innermost}" if operator else innermost
