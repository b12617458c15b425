"""What happens on the user's own machine before anything is sent: torch code runs here, never on the controller."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from muster.models import BUILTIN
from muster_controller.cli.progress import meter
from muster_protos.errors import MissingExtraError, NotFoundError

_TORCH_SOURCE = re.compile(r"(?P<path>.+\.py):(?P<function>[A-Za-z_]\w*)")
CHECK_WALL_S = 15.0


@contextmanager
def local_source(source: str, name: str, data: str) -> Iterator[Path]:
    """A file that can be sent: ``source`` itself, or the ONNX of ``file.py:function`` or of an archive of torch.export,
    made in a child, here.

    Raises:
        NotFoundError: there is no such file. MissingExtraError: exporting torch models needs an extra.
    """
    found = _TORCH_SOURCE.fullmatch(source)
    path = _existing(Path(source if found is None else found["path"]))
    if found is None and not _is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="muster-export-") as folder:
        yield _export(source, name, data, Path(folder))


def local_data(data: str) -> Path | str:
    """An existing data file, ``builtin:NAME`` as it is, or nothing."""
    return data if not data or data.startswith(BUILTIN) else _existing(Path(data))


def check_file(path: Path) -> dict[str, Any]:
    """The verdict on a model file, as JSON; the file is loaded in a child only."""
    from muster_bench.check import check_model
    from muster_bench.limits import ChildLimits

    verdict = to_jsonable_python(check_model(_existing(path), ChildLimits(wall_s=CHECK_WALL_S)))
    return {key: verdict[key] for key in ("verdict", "format", "reason", "inputs", "outputs", "precision")}


def _existing(path: Path) -> Path:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing"
        raise NotFoundError(f"expected a file at {path}, found {kind}")
    return path


def _is_archive(path: Path) -> bool:
    """Of torch.export; what is no zip archive at all is told apart without the compression package."""
    if not zipfile.is_zipfile(path):
        return False
    from muster_compression.sources.kind import is_archive

    return is_archive(path)


def _export(source: str, name: str, data: str, folder: Path) -> Path:
    try:
        import torch  # noqa: F401

        from muster_compression.orders import ImportedModel, ImportOrder
        from muster_compression.process import run_order
    except ImportError as error:
        raise MissingExtraError("importing torch models needs: pip install 'muster-edge[compress]'") from error
    order = ImportOrder(source=source, name=name, version=1, out_dir=folder, data=data)
    with meter("export") as bar:
        return run_order(order, ImportedModel, bar.show).artifact_path
