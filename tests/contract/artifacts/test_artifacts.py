"""What every artifact store must do, and what only one on disk can get wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_controller.ports import ArtifactStore
from muster_controller.testing import MemoryArtifactStore
from muster_protos.errors import InvalidInputError, NotFoundError, PermanentError, TemporaryError

ABSENT = "0" * 64

# Puts a file into a store where a real write fails half way: no file of this process may grow past 64 KiB.
PUT_WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from muster_controller.adapters.artifacts_folder import FolderArtifactStore
from muster_protos.errors import MusterError
store = FolderArtifactStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    store.put(Path(sys.argv[2]))
except MusterError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    """An empty store."""
    if request.param == "folder":
        yield FolderArtifactStore(tmp_path / "artifacts")
        return
    memory = MemoryArtifactStore()
    yield memory
    memory.close()


def file_of(tmp_path: Path, data: bytes, name: str = "source") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


class TestEveryStore:
    @pytest.mark.parametrize("data", [b"", b"weights", os.urandom((1 << 20) + 17)])
    def test_bytes_come_back_under_their_sha256(self, store: ArtifactStore, tmp_path: Path, data: bytes) -> None:
        sha256, size_bytes = store.put(file_of(tmp_path, data))
        assert sha256 == hashlib.sha256(data).hexdigest()
        assert size_bytes == store.size(sha256) == len(data)
        assert store.path(sha256).read_bytes() == data
        assert list(store.iter_sha256s()) == [sha256]

    def test_putting_twice_is_putting_once(self, store: ArtifactStore, tmp_path: Path) -> None:
        assert store.put(file_of(tmp_path, b"a", "1")) == store.put(file_of(tmp_path, b"a", "2"))
        assert len(list(store.iter_sha256s())) == 1

    def test_the_stored_bytes_do_not_follow_the_source(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = file_of(tmp_path, b"before")
        sha256, _ = store.put(source)
        source.write_bytes(b"after")
        assert store.read(sha256, 0, 100) == b"before"

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [(0, 4, b"0123"), (4, 100, b"456789"), (10, 1, b""), (99, 1, b""), (3, 0, b"")],
    )
    def test_ranges_are_cut_at_the_end(
        self, store: ArtifactStore, tmp_path: Path, offset: int, length: int, expected: bytes
    ) -> None:
        sha256, _ = store.put(file_of(tmp_path, b"0123456789"))
        assert store.read(sha256, offset, length) == expected

    def test_a_negative_range_is_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        sha256, _ = store.put(file_of(tmp_path, b"x"))
        for offset, length in ((-1, 1), (0, -1)):
            with pytest.raises(InvalidInputError):
                store.read(sha256, offset, length)

    def test_what_is_not_here_is_not_found(self, store: ArtifactStore, tmp_path: Path) -> None:
        for call in (
            lambda: store.size(ABSENT),
            lambda: store.read(ABSENT, 0, 1),
            lambda: store.path(ABSENT),
            lambda: store.put(tmp_path / "missing"),
        ):
            with pytest.raises(NotFoundError):
                call()

    @pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "0" * 63 + "/"])
    def test_only_a_sha256_is_a_name(self, store: ArtifactStore, name: str) -> None:
        for call in (store.size, store.path, store.remove):
            with pytest.raises(InvalidInputError):
                call(name)

    def test_what_is_removed_is_gone_and_can_come_back(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = file_of(tmp_path, b"x")
        sha256, _ = store.put(source)
        assert store.remove(sha256)
        assert not store.remove(sha256)
        assert list(store.iter_sha256s()) == []
        assert store.put(source)[0] == sha256
        assert store.read(sha256, 0, 1) == b"x"

    def test_what_was_just_put_is_spared_when_only_older_bytes_may_go(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        sha256, _ = store.put(file_of(tmp_path, b"x"))
        assert not store.remove(sha256, min_age_s=3600)
        assert store.read(sha256, 0, 1) == b"x"
        assert not store.remove(ABSENT, min_age_s=3600)

    def test_eight_threads_may_put_the_same_bytes(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = file_of(tmp_path, os.urandom(300_000))
        found: list[tuple[str, int]] = []
        threads = [threading.Thread(target=lambda: found.append(store.put(source))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        assert store.path(found[0][0]).read_bytes() == source.read_bytes()


class TestFolder:
    def test_old_bytes_that_are_put_again_are_young_again(self, tmp_path: Path) -> None:
        store = FolderArtifactStore(tmp_path / "artifacts")
        source = file_of(tmp_path, b"x")
        sha256, _ = store.put(source)
        os.utime(store.path(sha256), (1, 1))
        store.put(source)
        assert not store.remove(sha256, min_age_s=3600)
        os.utime(store.path(sha256), (1, 1))
        assert store.remove(sha256, min_age_s=3600)

    def test_a_write_that_fails_half_way_is_an_error_and_nothing_is_left(self, tmp_path: Path) -> None:
        root = tmp_path / "artifacts"
        source = file_of(tmp_path, os.urandom(200_000))
        done = subprocess.run(
            [sys.executable, "-c", PUT_WITHOUT_ROOM, str(root), str(source)], capture_output=True, text=True, check=True
        )
        assert "File too large" in done.stdout, done
        assert files_under(root) == []

    def test_a_full_disk_is_a_temporary_error_and_nothing_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FolderArtifactStore(tmp_path / "artifacts")

        def no_room(_handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", no_room)
        with pytest.raises(TemporaryError, match="full"):
            store.put(file_of(tmp_path, b"x"))
        assert files_under(tmp_path / "artifacts") == []

    def test_a_folder_in_the_way_is_refused_in_one_line(self, tmp_path: Path) -> None:
        file_of(tmp_path, b"a file", "artifacts")
        with pytest.raises(PermanentError, match="usable artifact folder"):
            FolderArtifactStore(tmp_path / "artifacts")

    def test_what_a_killed_controller_left_is_cleaned_up_when_it_is_old(self, tmp_path: Path) -> None:
        root = tmp_path / "artifacts"
        FolderArtifactStore(root)
        old, young = root / "incoming" / "put-old", root / "incoming" / "put-young"
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (1, 1))
        store = FolderArtifactStore(root)
        assert files_under(root) == [young]
        assert list(store.iter_sha256s()) == []

    def test_artifacts_survive_reopening_and_are_read_only(self, tmp_path: Path) -> None:
        sha256, _ = FolderArtifactStore(tmp_path / "artifacts").put(file_of(tmp_path, b"x"))
        path = FolderArtifactStore(tmp_path / "artifacts").path(sha256)
        assert path.read_bytes() == b"x"
        assert path.stat().st_mode & 0o222 == 0


def files_under(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())
