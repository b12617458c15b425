"""The smallest model that each runtime executes: one Relu over one float. It measures the harness and proves runtimes.

Made once with onnx 1.23 and LiteRT's schema (a test builds the same graphs again and compares what they compute).
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from muster_protos.model import Format, Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", (1,)),), (TensorSpec("y", "float32", (1,)),))

_BYTES = {
    Format.ONNX: base64.b64decode(
        "CAcSADo2CgwKAXgSAXkiBFJlbHUSBG51bGxaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN"
    ),
    Format.TFLITE: base64.b64decode(
        "GAAAAFRGTDMAAA4AGAAUABAADAAIAAQADgAAABQAAAAgAAAAJAAAANgAAAADAAAAAQAAAAgAAAAEAAQABAAAAAAAAAAAAAAAAQAA"
        "ABAAAAAMABQAEAAMAAgABAAMAAAAEAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEA"
        "AAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAAMAAAAAQAAADk////CAAAAAwAAAABAAAAeQAAAAEAAAABAAAADAAMAAgAAAAA"
        "AAQADAAAAAgAAAAMAAAAAQAAAHgAAAABAAAAAQAAAAEAAAAQAAAADAAMAAsAAAAAAAQADAAAABMAAAAAAAAT"
    ),
}


def null_bytes(format: Format) -> bytes:  # noqa: A002
    """The file's content."""
    return _BYTES[format]


@contextlib.contextmanager
def null_artifact(format: Format) -> Iterator[Path]:  # noqa: A002
    """The model as a path, in memory where the system can; gone afterwards."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("muster-null-model")
        try:
            os.write(descriptor, _BYTES[format])
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"null.{format.value}"
        path.write_bytes(_BYTES[format])
        yield path
