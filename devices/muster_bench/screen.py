"""Look at an artifact before any runtime does. Pure reading: safe in time and memory, needs no runtime."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from muster_bench.errors import HostileArtifactError
from muster_bench.files.onnx_reader import Model as OnnxModel
from muster_bench.files.onnx_reader import read_onnx
from muster_bench.files.onnx_rules import check_onnx
from muster_bench.files.precision import onnx_precision
from muster_bench.files.tflite_reader import TfliteModel, read_tflite
from muster_bench.files.tflite_rules import check_tflite, tflite_precision
from muster_protos.model import Format

MAX_ARTIFACT_BYTES = 2 << 30  # protobuf's own limit for one ONNX file


@dataclass(frozen=True, slots=True)
class Dimension:
    """One declared size; -1 = free, then perhaps with a name."""

    size: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """What the file says of itself."""

    format: Format
    precision: str  # "fp32", "fp16", "int8", "int4", ..., "mixed"
    output_dims: tuple[tuple[Dimension, ...] | None, ...]  # as the file declares them, in order; None = not at all


def screen_artifact(path: Path, format: Format) -> ArtifactFacts:  # noqa: A002
    """Check the structure of the file and read its precision.

    Raises:
        HostileArtifactError: it breaks a rule that no honest file breaks; the message says which.
        NotExecutableError: its inputs or outputs are of a kind that is not served.
    """
    try:
        if not path.is_file():
            raise HostileArtifactError(f"expected a regular file, found {path.name}")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_ARTIFACT_BYTES:
            raise HostileArtifactError(f"{size_bytes} bytes; at most {MAX_ARTIFACT_BYTES} are taken")
        if size_bytes == 0:
            raise HostileArtifactError("the file is empty")
        with path.open("rb") as file:
            return _screen(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), format)
    except OSError as error:
        raise HostileArtifactError(f"cannot be read: {error.strerror or error}") from error


def _screen(content: mmap.mmap, format: Format) -> ArtifactFacts:  # noqa: A002
    view = memoryview(content)  # freed with the last reference, after the views into it
    match format:
        case Format.ONNX:
            onnx = read_onnx(view)
            check_onnx(onnx)
            return ArtifactFacts(format, onnx_precision(onnx), _onnx_outputs(onnx))
        case Format.TFLITE:
            tflite = read_tflite(view)
            check_tflite(tflite)
            return ArtifactFacts(format, tflite_precision(tflite), _tflite_outputs(tflite))
        case _:
            raise HostileArtifactError("neither an ONNX nor a TFLite file")


def _onnx_outputs(model: OnnxModel) -> tuple[tuple[Dimension, ...] | None, ...]:
    declared = model.graph.outputs if model.graph else []
    return tuple(
        None if value.dims is None else tuple(map(Dimension, value.dims, value.dim_names)) for value in declared
    )


def _tflite_outputs(model: TfliteModel) -> tuple[tuple[Dimension, ...] | None, ...]:
    graph = model.graphs[0]
    return tuple(tuple(map(Dimension, graph.tensors[i].declared_shape)) or None for i in graph.outputs)
