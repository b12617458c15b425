import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from muster_compression.artifact import ref_of, write_npz
from muster_compression.orders import VariantResult
from muster_compression.workspace import publish, search_folder, staging
from muster_protos.errors import PermanentError
from muster_protos.model import VariantManifest


def test_published_files_move_and_their_paths_follow(tmp_path):
    with staging(tmp_path) as folder:
        for name in ("a.onnx", "a.npz"):
            (folder / name).write_bytes(b"x")
        result = publish(VariantResult(VariantManifest(), folder / "a.onnx", folder / "a.npz"), folder, tmp_path)
    assert result.artifact_path == tmp_path / "a.onnx"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.onnx"]


def test_a_failure_leaves_nothing(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half.onnx").write_bytes(b"x")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError), staging(tmp_path) as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(RuntimeError), staging(tmp_path / "new"):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PermanentError, match="choose another folder"), staging(tmp_path / "file" / "out"):
        pass


def test_npz_bytes_depend_only_on_the_arrays(tmp_path):
    import numpy as np

    first = write_npz(tmp_path / "a.npz", {"b": np.ones(3), "a": np.zeros(2)})
    second = write_npz(tmp_path / "b.npz", {"a": np.zeros(2), "b": np.ones(3)})
    assert ref_of(first) == ref_of(second)


@dataclass(frozen=True)
class Other:
    path: Path


def test_values_of_other_packages_pass_untouched(tmp_path):
    value = (Other(tmp_path),)
    assert publish(value, tmp_path, tmp_path / "out") == value


KILLED = """
import os, signal, sys
from pathlib import Path
from muster_compression.workspace import search_folder, staging

with staging(Path(sys.argv[1])) as folder, search_folder(Path(sys.argv[1])):
    (folder / "half.onnx").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert {name.partition("-")[0] for name in left} == {".staging", ".search"}
    with staging(tmp_path) as mine:
        assert not left & {path.name for path in tmp_path.iterdir()}
        with search_folder(tmp_path), staging(tmp_path):
            assert mine.is_dir()
    assert list(tmp_path.iterdir()) == []
