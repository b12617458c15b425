"""Parse a TFLite file into objects with LiteRT's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from muster_protos.errors import InvalidInputError, MissingExtraError

_IDENTIFIER = b"TFL3"


def load_tflite(path: Path) -> tuple[Any, Any]:
    """The schema module and the model of a file that ``muster_bench.check`` has accepted.

    Weights that lie behind the flatbuffer (large files, ai-edge-quantizer) are brought into their buffers.

    Raises:
        MissingExtraError: LiteRT, whose schema reads the file, is not installed.
        InvalidInputError: a buffer reaches beyond the file.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingExtraError("TFLite files need LiteRT: pip install 'muster-edge[litert]'") from error
    payload = path.read_bytes()
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(payload, 0))
    for buffer in model.buffers:
        if buffer.data is None and buffer.size > 0:
            end = buffer.offset + buffer.size
            if end > len(payload):
                raise InvalidInputError(f"{path.name}: a buffer ends at byte {end} of {len(payload)}")
            buffer.data = np.frombuffer(payload, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return schema, model


def packed(model: Any) -> bytes:
    """The bytes of a model that was changed."""
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())
