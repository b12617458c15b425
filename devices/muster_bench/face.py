"""A variant behind the model's canonical inputs and outputs. Its cost is part of every measured latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from muster_bench.binding import derive_binding, identity_binding
from muster_bench.errors import FaceError
from muster_bench.face_tensor import InputFace, OutputFace
from muster_bench.runtimes.port import Array, BoundRun, Feeds, Session
from muster_protos.model import Binding, Signature

__all__ = ["Face", "FaceRun", "derive_binding", "identity_binding"]


class Face:
    """A session that takes and gives canonical tensors."""

    def __init__(self, session: Session, signature: Signature, binding: Binding) -> None:
        """Check that the binding covers the signature and the session.

        Raises:
            FaceError: a tensor is missing, or a canonical name is unknown.
        """
        self.signature = signature
        self._session = session
        own_inputs = {spec.name: spec for spec in session.inputs}
        own_outputs = {spec.name: spec for spec in session.outputs}
        _check_cover("input", [item.canonical_name for item in binding.inputs], [s.name for s in signature.inputs])
        _check_cover("output", [item.canonical_name for item in binding.outputs], [s.name for s in signature.outputs])
        _check_cover("input tensor", [item.tensor_name for item in binding.inputs], list(own_inputs))
        for item in binding.outputs:
            if item.tensor_name not in own_outputs:
                raise FaceError(f"the binding names the output tensor {item.tensor_name!r}, which the file has not")
        by_name = {spec.name: spec for spec in (*signature.inputs, *signature.outputs)}
        self._inputs = {b.canonical_name: InputFace(by_name[b.canonical_name], b) for b in binding.inputs}
        self._outputs = {b.canonical_name: OutputFace(by_name[b.canonical_name], b) for b in binding.outputs}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Canonical inputs to canonical outputs, which are the caller's own.

        Raises:
            FaceError: a name, dtype or shape is not the signature's.
            ModelLoadError: the runtime fails on them.
        """
        self.check(feeds)
        raw = self._session.run({face.tensor_name: face.convert(feeds[name]) for name, face in self._inputs.items()})
        return {name: face.convert(raw[face.tensor_name]) for name, face in self._outputs.items()}

    def bind(self, feeds_list: Sequence[Feeds]) -> list[FaceRun]:
        """One prepared query for each canonical feed.

        Raises:
            FaceError: a name, dtype or shape is not the signature's.
        """
        for feeds in feeds_list:
            self.check(feeds)
        return [FaceRun(self._session, self._inputs, self._outputs, feeds) for feeds in feeds_list]

    def check(self, feeds: Feeds) -> None:
        """Raise FaceError unless names, dtypes and shapes are the signature's."""
        _check_cover("input", list(feeds), list(self._inputs))
        for name, face in self._inputs.items():
            face.check(feeds[name])

    def close(self) -> None:
        """Free the model."""
        self._session.close()


class FaceRun:
    """One prepared canonical query; see ``runtimes.BoundRun``."""

    def __init__(
        self,
        session: Session,
        inputs: Mapping[str, InputFace],
        outputs: Mapping[str, OutputFace],
        feeds: Feeds,
    ) -> None:
        self._bound: BoundRun
        tensors = {face.tensor_name: face.convert(feeds[name]) for name, face in inputs.items()}
        self._before = [
            (face, feeds[name], tensors[face.tensor_name]) for name, face in inputs.items() if not face.is_identity
        ]
        self._bound = session.bind(tensors)
        raw = self._bound.outputs
        self.outputs: Feeds = {
            name: raw[face.tensor_name] if face.is_identity else face.convert(raw[face.tensor_name])
            for name, face in outputs.items()
        }
        self._after = [
            (face, raw[face.tensor_name], self.outputs[name]) for name, face in outputs.items() if not face.is_identity
        ]

    def run(self) -> None:
        """Convert in, execute, convert out."""
        for input_face, canonical, tensor in self._before:
            input_face.convert_into(canonical, tensor)
        self._bound.run()
        for output_face, tensor, canonical in self._after:
            output_face.convert_into(tensor, canonical)


def _check_cover(what: str, found: Sequence[str], expected: Sequence[str]) -> None:
    if sorted(found) != sorted(expected):
        raise FaceError(
            f"expected the {what}s {', '.join(sorted(expected))}; found {', '.join(sorted(found)) or 'none'}"
        )
