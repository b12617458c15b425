"""What a user named as the source of a model, decided from its content, never from its suffix."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from muster_protos.errors import InvalidInputError, NotFoundError, UsageError

_PICKLE_START = b"\x80"
_HDF5_START = b"\x89HDF\r\n\x1a\n"
_ZIP_START = b"PK\x03\x04"
_WAY_OUT = (
    "write a file net.py with a function make() that builds the module, loads the weights with "
    "torch.load(path, weights_only=True) and returns it in eval mode, and name it as net.py:make"
)


class SourceKind(Enum):
    """How to get a model out of what the user named."""

    FILE = "file"  # ONNX or TFLite: the check decides
    TORCH = "torch"  # file.py:function
    ARCHIVE = "archive"  # of torch.export


def split_torch(source: str) -> tuple[Path, str] | None:
    """``net.py:make`` as path and function name, else None."""
    path, colon, function = source.rpartition(":")
    if colon and path.endswith(".py") and function.isidentifier():
        return Path(path), function
    return None


def kind_of(source: str) -> SourceKind:
    """Decide how ``source`` is read; what can never be read is refused here with the way out.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: a pickled module, an archive, Python without a function, a folder.
    """
    torch_source = split_torch(source)
    path = torch_source[0] if torch_source else Path(source)
    if path.is_dir():
        raise InvalidInputError(f"{source}: expected a model file, found a folder")
    if not path.is_file():
        raise NotFoundError(f"no model file {path}; expected an .onnx, .tflite or .pt2 file or file.py:function")
    if torch_source:
        return SourceKind.TORCH
    if is_archive(path):
        return SourceKind.ARCHIVE
    if path.suffix == ".py":
        raise UsageError(f"{path.name}: expected the name of a function too, as in {path.name}:make")
    _refuse_what_is_no_model(path)
    return SourceKind.FILE


def is_archive(path: Path) -> bool:
    """Whether ``torch.export.save`` wrote it: a zip archive with the graph as JSON.

    torch may run code of such an archive while it loads it, as it does with ``net.py``: it is opened in a child of the
    user's own machine, and never by a controller.
    """
    with path.open("rb") as stream:
        if not stream.read(8).startswith(_ZIP_START):
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.endswith("/archive_format") for name in names) and any("models/" in name for name in names)


def _refuse_what_is_no_model(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(8)
    if start == _HDF5_START:
        raise InvalidInputError(f"{path.name}: expected ONNX or TFLite, found HDF5 (Keras); convert it to TFLite first")
    if start.startswith(_ZIP_START):
        _refuse_archive(path)
    if start.startswith(_PICKLE_START) and not path.read_bytes()[4:8] == b"TFL3":
        raise InvalidInputError(f"{path.name}: a pickled file runs any code it likes when it is loaded; {_WAY_OUT}")


def _refuse_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise InvalidInputError(f"{path.name}: expected ONNX or TFLite, found a damaged zip archive") from error
    if any(name.endswith((".pkl", "constants.pkl")) for name in names):
        raise InvalidInputError(
            f"{path.name}: a pickled PyTorch file runs any code it likes when it is loaded; {_WAY_OUT}"
        )
    raise InvalidInputError(f"{path.name}: expected ONNX or TFLite, found a zip archive; unpack it first")
