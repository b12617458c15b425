"""Choose the adapter by the runtime's name."""

from __future__ import annotations

from pathlib import Path

from muster_bench.runtimes.port import Session
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format


def open_session(path: Path, format: Format, runtime: str, provider: str, threads: int) -> Session:  # noqa: A002
    """Load the artifact at ``path``; never falls back to another provider.

    Raises:
        InvalidInputError: unknown runtime or provider, a format that the runtime does not take, threads < 1.
        MissingExtraError: the runtime is not installed.
        NotExecutableError: the runtime lacks an operator of the model.
        ModelLoadError: the runtime refuses the file.
    """
    if threads < 1:
        raise InvalidInputError(f"expected at least 1 thread, found {threads}")
    match (runtime, format):
        case ("onnxruntime", Format.ONNX):
            from muster_bench.runtimes.session_onnxruntime import OnnxSession

            return OnnxSession(path, provider, threads)
        case ("litert", Format.TFLITE):
            from muster_bench.runtimes.session_litert import LiteRtSession

            return LiteRtSession(path, provider, threads)
        case ("onnxruntime" | "litert", _):
            raise InvalidInputError(f"{runtime} does not execute {format.value} files")
        case _:
            raise InvalidInputError(f"expected the runtime onnxruntime or litert, found {runtime!r}")
