"""Errors of running a model in a child process.

PermanentError
|-- ChildError               the child crashed, hung or answered nothing that counts
|   `-- SelfTestError        the child is well, but its outputs are not the golden ones
|-- ModelLoadError           the runtime refuses the file
|   |-- HostileArtifactError the file breaks a rule that no honest file breaks
|   `-- NotExecutableError   the file is well-formed, no runtime here executes it
`-- FaceError                tensors and signature do not fit each other
TemporaryError
`-- StoppedError             somebody asked for an end
"""

from __future__ import annotations

from muster_protos.errors import InvalidInputError, PermanentError, TemporaryError

_LONGEST_MESSAGE = 600


class ChildError(PermanentError):
    """The child crashed, hung, was killed or answered nothing that counts; the message names signal and stage."""

    def __init__(self, message: str, *, kind: str = "", stage: str = "", signal_name: str = "") -> None:
        super().__init__(message)
        self.kind = kind  # class name of the error that the child itself reported, "" when it could not
        self.stage = stage
        self.signal_name = signal_name


class SelfTestError(ChildError):
    """The artifact's outputs differ from the golden ones, or it could not be run at all."""


class StoppedError(TemporaryError):
    """The run was stopped before it ended."""


class ModelLoadError(PermanentError):
    """The runtime refuses the file. The message is cut: a file can hold a name of a gigabyte."""

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}...")


class HostileArtifactError(ModelLoadError):
    """The file breaks a rule that no honest file breaks."""


class NotExecutableError(ModelLoadError):
    """The file is well-formed, but no runtime here executes it."""


class FaceError(InvalidInputError):
    """Tensors and signature do not fit each other."""
