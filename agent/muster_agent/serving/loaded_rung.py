"""One rung in memory: its session behind the model's face, self-tested and warmed before anybody is answered by it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from muster_agent.serving.errors import GrantError, InferenceError, RequestError
from muster_agent.serving.tensors import Array
from muster_bench.errors import FaceError
from muster_bench.face import Face
from muster_bench.golden import self_test
from muster_bench.runtimes import open_session
from muster_bench.slowdown import Slowdown
from muster_protos.errors import MusterError
from muster_protos.model import LocalVariant, Rung, Signature

_WARM_RUNS = 3

_BLOCK_BYTES = 1 << 20


class LoadedRung:
    """Answers canonical inputs with canonical outputs. Used by one thread at a time."""

    def __init__(self, rung: Rung, face: Face, fixed_batch: int | None, slowdown: Slowdown) -> None:
        self.variant_id = rung.configuration.variant_id
        self._is_single_threaded = rung.configuration.threads == 1
        self._face = face
        self._fixed_batch = fixed_batch
        self._slowdown = slowdown

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer, stretched by the declared slowdown of an emulated device.

        Raises:
            RequestError: the inputs do not fit the signature after all.
            InferenceError: the runtime failed on them.
        """
        started_ns, cpu_started_ns = time.perf_counter_ns(), time.thread_time_ns()
        try:
            outputs = self._run(feeds)
        except FaceError as error:
            raise RequestError(str(error)) from error
        except MusterError as error:
            raise InferenceError(f"{self.variant_id}: {error}") from error
        if self._is_single_threaded:
            # What a busy host takes from this thread is not the emulated device's work and must not be multiplied.
            started_ns = time.perf_counter_ns() - (time.thread_time_ns() - cpu_started_ns)
        self._slowdown.stretch(started_ns)
        return outputs

    def close(self) -> None:
        """Free the model."""
        self._face.close()

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        batch = len(next(iter(feeds.values()))) if self._fixed_batch else 1
        if self._fixed_batch is None or batch == self._fixed_batch:
            return dict(self._face.run(feeds))
        if batch % self._fixed_batch:
            raise FaceError(f"{self.variant_id} takes {self._fixed_batch} samples at a time, found {batch}")
        parts = [
            self._face.run({name: array[start : start + self._fixed_batch] for name, array in feeds.items()})
            for start in range(0, batch, self._fixed_batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_rung(rung: Rung, variant: LocalVariant, signature: Signature, slowdown_ratio: float) -> LoadedRung:
    """Load, self-test on the golden inputs, and warm.

    Raises:
        GrantError: it does not load, or the self-test fails; the message starts with ``load:`` or ``self-test:``.
    """
    configuration, manifest = rung.configuration, variant.manifest
    _check_bytes(variant)
    try:
        session = open_session(
            Path(variant.path), manifest.format, configuration.runtime, configuration.provider, configuration.threads
        )
        face = Face(session, signature, manifest.binding)
    except MusterError as error:
        raise GrantError(f"load: {error}", configuration.variant_id) from error
    try:
        if variant.golden_path:
            self_test(face, Path(variant.golden_path), manifest.golden_max_abs_error)
        loaded = LoadedRung(rung, face, _fixed_batch(variant, signature), Slowdown(slowdown_ratio))
        for feeds in _WARM_RUNS * _blank(signature):
            loaded.run(feeds)
    except MusterError as error:
        face.close()
        raise GrantError(f"self-test: {error}", configuration.variant_id) from error
    return loaded


def _check_bytes(variant: LocalVariant) -> None:
    """The agent hashed the file when it granted it; a rung may be loaded days later."""
    wanted, path = variant.manifest.artifact.sha256, Path(variant.path)
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise GrantError(f"load: {path.name} cannot be read: {error.strerror}", variant.manifest.variant_id) from error
    if digest.hexdigest() != wanted:
        raise GrantError(
            f"load: expected bytes with the sha256 {wanted[:12]}, found others; the file has rotted",
            variant.manifest.variant_id,
        )


def _fixed_batch(variant: LocalVariant, signature: Signature) -> int | None:
    """How many samples the variant takes at a time where the signature leaves it free; None when it does not matter."""
    if not all(spec.shape and spec.shape[0] < 0 for spec in (*signature.inputs, *signature.outputs)):
        return None
    sizes = {item.shape[0] for item in variant.manifest.binding.inputs if item.shape and item.shape[0] > 0}
    return sizes.pop() if len(sizes) == 1 else None


def _blank(signature: Signature) -> list[dict[str, Array]]:
    """Zeros to warm a rung with; none when a free dimension beside the batch makes every size a guess."""
    if any(size < 0 for spec in signature.inputs for size in spec.shape[1:]):
        return []
    return [{spec.name: np.zeros([max(size, 1) for size in spec.shape], spec.dtype) for spec in signature.inputs}]
