"""Read, load and run a file of which nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from muster_bench.child import Json, Send
from muster_bench.errors import HostileArtifactError, ModelLoadError, NotExecutableError
from muster_bench.files.sniff import sniff
from muster_bench.generated_inputs import generate
from muster_bench.runtimes import Session, open_session
from muster_bench.runtimes.port import Array
from muster_bench.screen import Dimension, screen_artifact
from muster_protos.model import Format, TensorSpec

# In order: a graph that one delegate does not take may run with plain kernels.
_RUNTIMES = {Format.ONNX: (("onnxruntime", "cpu"),), Format.TFLITE: (("litert", "xnnpack"), ("litert", "cpu"))}
_MAX_INPUT_BYTES = 1 << 30
_FREE_SIZES = (1, 32, 224)  # a fully convolutional net cannot run on 1 x 1 pixels


def check(spec: Json, send: Send) -> Json:
    """``{"path"}`` to ``{"verdict", "reason"}``; facts are sent as soon as they are known.

    Raises:
        ModelLoadError: it is rejected or unsupported.
        MissingExtraError: the runtime for it is not installed.
    """
    path = Path(spec["path"])
    send({"stage": "reading the file"})
    found = sniff(path)
    send({"fact": {"format": found.name}})
    if found.format is Format.UNSPECIFIED:
        if found.way_out:
            raise NotExecutableError(found.way_out)
        size_bytes = path.stat().st_size
        raise HostileArtifactError(
            f"neither an ONNX nor a TFLite file: {size_bytes} bytes of something else"
            if size_bytes
            else "the file is empty"
        )
    facts = screen_artifact(path, found.format)
    send({"fact": {"precision": facts.precision}})
    send({"stage": "loading the model"})
    session = _open(path, found.format)
    send({"fact": {"inputs": [asdict(item) for item in session.inputs]}})
    send({"fact": {"outputs": [asdict(item) for item in session.outputs]}})
    send({"stage": "making the first inference"})
    feeds, outputs = _first_inference(session)
    _check_outputs(session, facts.output_dims, feeds, outputs)
    session.close()
    return {"verdict": "accepted", "reason": ""}


def _open(path: Path, format: Format) -> Session:  # noqa: A002
    first_error: ModelLoadError | None = None
    for runtime, provider in _RUNTIMES[format]:
        try:
            return open_session(path, format, runtime, provider, 1)
        except ModelLoadError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _first_inference(session: Session) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and outputs at the first size of the free dimensions that the model can run."""
    first_error: ModelLoadError | None = None
    has_free = any(size < 0 for item in session.inputs for size in item.shape[1:])
    for free in _FREE_SIZES if has_free else _FREE_SIZES[:1]:
        specs = [_resized(item, free) for item in session.inputs]
        size_bytes = sum(_bytes(item) for item in specs)
        if size_bytes > _MAX_INPUT_BYTES:
            raise HostileArtifactError(f"its inputs take {size_bytes} bytes; at most {_MAX_INPUT_BYTES} are taken")
        feeds = generate(specs, seed=0)
        try:
            return feeds, session.run(feeds)
        except ModelLoadError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _resized(item: TensorSpec, free: int) -> TensorSpec:
    """The first dimension is a batch of 1; the other free ones get ``free``."""
    shape = tuple((1 if i == 0 else free) if size < 0 else size for i, size in enumerate(item.shape))
    return TensorSpec(item.name, item.dtype, shape)


def _bytes(item: TensorSpec) -> int:
    size = np.dtype(item.dtype).itemsize
    for dim in item.shape:
        size *= dim
    return size


def _check_outputs(
    session: Session,
    declared: Sequence[Sequence[Dimension] | None],
    feeds: Mapping[str, Array],
    outputs: Mapping[str, Array],
) -> None:
    """The file's own words count: a runtime replaces a declared shape that is wrong by the one that it infers."""
    sizes = _named_sizes(session.inputs, feeds)
    for item, dims in zip(session.outputs, declared, strict=True):
        array = outputs[item.name]
        wanted = None if dims is None else [sizes.get(d.name, -1) if d.size < 0 else d.size for d in dims]
        if wanted is not None and not _fits(wanted, array.shape):
            raise HostileArtifactError(
                f"output {item.name!r} is declared with shape {wanted} (-1 = free) and came with {list(array.shape)}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
            raise HostileArtifactError(f"output {item.name!r} holds NaN or infinity for inputs between 0 and 1")


def _fits(wanted: Sequence[int], found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(a in (-1, b) for a, b in zip(wanted, found, strict=True))


def _named_sizes(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> dict[str, int]:
    """The size that each named free dimension got."""
    return {
        name: feeds[item.name].shape[i]
        for item in inputs
        for i, name in enumerate(item.dim_names)
        if name and item.shape[i] < 0
    }
