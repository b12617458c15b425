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
        """One prepared query for each canonical feed; those of equal shapes share their memory for conversions.

        Raises:
            FaceError: a name, dtype or shape is not the signature's.
        """
        for feeds in feeds_list:
            self.check(feeds)
        runs: list[FaceRun] = []
        for feeds in feeds_list:
            like = runs[0] if runs and runs[0].has_shapes_of(feeds) else None
            runs.append(FaceRun(self._session, self._inputs, self._outputs, feeds, like))
        return runs

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
        like: FaceRun | None,
    ) -> None:
        self._feeds = feeds
        self._output_faces = outputs
        self.converted: Feeds = {
            name: (like.converted[name] if like else face.convert(feeds[name]))
            for name, face in inputs.items()
            if not face.is_identity
        }
        self._before = [(inputs[name], feeds[name], tensor) for name, tensor in self.converted.items()]
        tensors = {face.tensor_name: self.converted.get(name, feeds[name]) for name, face in inputs.items()}
        self._bound: BoundRun = session.bind(tensors, like.raw if like else None)
        self.raw: Feeds = self._bound.outputs
        self.outputs: Feeds = self._converted_outputs()
        self._after = self._output_steps()

    def run(self) -> None:
        """Convert in, execute, convert out."""
        for input_face, canonical, tensor in self._before:
            input_face.convert_into(canonical, tensor)
        self._bound.run()
        if self._bound.outputs is not self.raw:
            self.raw = self._bound.outputs
            self.outputs = self._converted_outputs()
            self._after = self._output_steps()
            return
        for output_face, tensor, canonical in self._after:
            output_face.convert_into(tensor, canonical)

    def has_shapes_of(self, feeds: Feeds) -> bool:
        """Whether ``feeds`` has the shapes of this query's inputs."""
        return all(self._feeds[name].shape == array.shape for name, array in feeds.items())

    def _converted_outputs(self) -> Feeds:
        return {name: face.convert(self.raw[face.tensor_name]) for name, face in self._output_faces.items()}

    def _output_steps(self) -> list[tuple[OutputFace, Array, Array]]:
        return [
            (face, self.raw[face.tensor_name], self.outputs[name])
            for name, face in self._output_faces.items()
            if not face.is_identity
        ]


def _check_cover(what: str, found: Sequence[str], expected: Sequence[str]) -> None:
    if sorted(found) != sorted(expected):
        raise FaceError(
            f"expected the {what}s {', '.join(sorted(expected))}; found {', '.join(sorted(found)) or 'none'}"
        )
