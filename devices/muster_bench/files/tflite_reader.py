"""The parts of a TFLite file that its safety depends on. Field numbers: TensorFlow's lite/schema.fbs, v3."""

from __future__ import annotations

from dataclasses import dataclass

from muster_bench.errors import HostileArtifactError
from muster_bench.files.flatbuffer import Table, root_table

_CUSTOM = 32  # BuiltinOperator.CUSTOM
_NO_PLACEHOLDER = 127


@dataclass(frozen=True, slots=True)
class TfliteTensor:
    """Type number, shape and place of one tensor."""

    name: str
    type: int
    shape: tuple[int, ...]
    buffer: int
    is_sparse: bool
    shape_signature: tuple[int, ...]  # -1 = free; empty = as shape

    @property
    def declared_shape(self) -> tuple[int, ...]:
        """The shape with -1 for free dimensions."""
        return self.shape_signature or self.shape


@dataclass(frozen=True, slots=True)
class TfliteOperator:
    """Its code's index and the tensors it touches; -1 = an optional one left out."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """One subgraph."""

    tensors: tuple[TfliteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[TfliteOperator, ...]


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A whole file; buffers by their size in bytes."""

    version: int
    graphs: tuple[TfliteGraph, ...]
    buffer_bytes: tuple[int, ...]
    custom_operators: tuple[str, ...]
    operator_codes: int


def read_tflite(content: memoryview) -> TfliteModel:
    """Parse ``content``.

    Raises:
        HostileArtifactError: an offset or a vector reaches out of the file.
    """
    root = root_table(content)
    codes = root.tables(1)
    return TfliteModel(
        version=root.integer(0, "I"),
        graphs=tuple(_graph(table) for table in root.tables(2)),
        buffer_bytes=tuple(_buffer_bytes(table, len(content)) for table in root.tables(4)),
        custom_operators=tuple(code.text(1) for code in codes if _builtin(code) == _CUSTOM),
        operator_codes=len(codes),
    )


def _graph(table: Table) -> TfliteGraph:
    return TfliteGraph(
        tensors=tuple(_tensor(item) for item in table.tables(0)),
        inputs=tuple(table.integers(1, "i")),
        outputs=tuple(table.integers(2, "i")),
        operators=tuple(_operator(item) for item in table.tables(3)),
    )


def _tensor(table: Table) -> TfliteTensor:
    return TfliteTensor(
        name=table.text(3),
        type=table.integer(1, "b"),
        shape=tuple(table.integers(0, "i")),
        buffer=table.integer(2, "I"),
        is_sparse=table.table(6) is not None,
        shape_signature=tuple(table.integers(7, "i")),
    )


def _operator(table: Table) -> TfliteOperator:
    return TfliteOperator(table.integer(0, "I"), tuple(table.integers(1, "i")), tuple(table.integers(2, "i")))


def _buffer_bytes(table: Table, file_bytes: int) -> int:
    """Its size; data of very large files lies behind the flatbuffer at an offset."""
    offset, size = table.integer(1, "Q"), table.integer(2, "Q")
    if offset > 1:
        if offset + size > file_bytes:
            raise HostileArtifactError("malformed: the data of a buffer lies beyond the end of the file")
        return size
    return table.length(0, 1)


def _builtin(code: Table) -> int:
    """Old files keep the code in a byte, which ends at a placeholder."""
    old = code.integer(0, "b")
    return code.integer(3, "i") if old in (0, _NO_PLACEHOLDER) else old
