"""What a file is, from its content alone."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from muster_bench.errors import HostileArtifactError
from muster_bench.files.protobuf_wire import LENGTH, VARINT, walk
from muster_protos.model import Format

_HEAD_BYTES = 4096
_ONNX_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26))
_MAX_IR_VERSION = 1000
_EXPORT = "export it to ONNX (muster model add FILE.py:FUNCTION, or torch.onnx.export) or TFLite"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """``format`` when it is one that Muster takes; else ``name`` says what it is and ``way_out`` what to do."""

    format: Format
    name: str  # "onnx", "tflite", "pytorch", "pickle", ..., "unknown"
    way_out: str = ""


def sniff(path: Path) -> Sniffed:
    """Name the file's format; reads its first 4 KiB, and a zip's table of contents.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"TFL3":
        return Sniffed(Format.TFLITE, "tflite")
    if _is_onnx(head):
        return Sniffed(Format.ONNX, "onnx")
    return _other(path, head)


def _other(path: Path, head: bytes) -> Sniffed:
    if head[:4] == b"PK\x03\x04":
        return _zip(path)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return _foreign("pickle", "a pickle, which is never unpickled because it can run any code", _EXPORT)
    if head[4:8] == b"ORTM":
        return _foreign("ort", "an ONNX Runtime .ort file, tied to one version", "use the .onnx that it was made from")
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return _foreign("hdf5", "an HDF5 file (Keras)", "convert it to TFLite with tf.lite.TFLiteConverter")
    if head[:4] == b"GGUF":
        return _foreign("gguf", "a GGUF file", _EXPORT)
    if head[8:9] == b"{" and head[:8].endswith(b"\x00\x00\x00"):
        return _foreign("safetensors", "a safetensors file: weights without a graph", _EXPORT)
    return Sniffed(Format.UNSPECIFIED, "unknown")


def _zip(path: Path) -> Sniffed:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return Sniffed(Format.UNSPECIFIED, "unknown")
    if any(name.endswith((".pkl", "models/model.json", ".pt2")) for name in names):
        return _foreign("pytorch", "a PyTorch archive, which is never unpickled because it can run any code", _EXPORT)
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return _foreign("keras", "a Keras archive", "convert it to TFLite with tf.lite.TFLiteConverter")
    return _foreign("zip", "a zip archive", "hand in the .onnx or .tflite file itself")


def _foreign(name: str, what: str, way_out: str) -> Sniffed:
    return Sniffed(Format.UNSPECIFIED, name, f"this is {what}; {way_out}")


def _is_onnx(head: bytes) -> bool:
    """Whether the first fields are an ONNX model's: known numbers, right types, a plausible IR version."""
    seen = 0
    has_ir_version = False
    try:
        for number, kind, value in walk(memoryview(head)):
            if number not in _ONNX_FIELDS or kind != (VARINT if number in (1, 5) else LENGTH):
                return False
            if number == 1:
                has_ir_version = isinstance(value, int) and 0 < value < _MAX_IR_VERSION
            seen += 1
    except HostileArtifactError:  # the graph goes on behind the head, or the file is cut off: later reading tells
        seen += 1
    return has_ir_version and seen > 1
