import errno
import os

import pytest

from muster_compression import disk_fault as faults
from muster_compression.cli import main
from muster_compression.disk_fault import disk_fault


def full(name=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


@pytest.mark.parametrize("is_cache_fuller", [False, True])
def test_a_full_disk_names_the_folder_and_the_way_out(tmp_path, monkeypatch, is_cache_fuller):
    out, cache = tmp_path / "out", tmp_path / "cache"
    monkeypatch.setattr(faults, "_free_bytes", lambda folder: int((folder == cache) is not is_cache_fuller))
    words = disk_fault(full(), out, cache)
    if is_cache_fuller:
        assert (
            words == f"No space left on device: {cache} (the cache); free space or name another folder in MUSTER_CACHE"
        )
    else:
        assert words == f"No space left on device: {out}; free space or choose another --out"
    assert f": {out};" in disk_fault(full(str(out / "x.onnx")), out, cache)
    assert f": {cache} (" in disk_fault(full(str(cache / "passes/x")), out, cache)


def test_another_fault_names_its_file(tmp_path):
    error = OSError(errno.EACCES, "Permission denied", "net.onnx")
    assert disk_fault(error, tmp_path, tmp_path) == "Permission denied: net.onnx"


def test_a_disk_that_is_full_when_the_page_is_written_is_one_line(run, tmp_path, monkeypatch, capsys):
    from muster_compression import cli
    from muster_compression.run_file import save_run

    def fail(*_: object) -> None:
        raise full()

    save_run(tmp_path, run)
    monkeypatch.setattr(cli, "write_bytes", fail)
    assert main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: No space left on device: ")
    assert said.count("\n") == 1
