"""The ArtifactCache port over a real folder: only whole, verified bytes get a name."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from muster_agent.adapters.cache_folder import FolderCache
from muster_protos.errors import InvalidInputError, TemporaryError
from muster_protos.model import ArtifactRef


def ref_of(content: bytes) -> ArtifactRef:
    return ArtifactRef(hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def cache(tmp_path) -> FolderCache:
    return FolderCache(tmp_path)


def put(cache: FolderCache, content: bytes) -> ArtifactRef:
    ref = ref_of(content)
    cache.append(ref, 0, content)
    cache.finish(ref)
    return ref


def test_an_artifact_has_no_name_before_it_is_finished(cache):
    ref = ref_of(b"hello")
    cache.append(ref, 0, b"hel")
    assert (cache.cached(), cache.partial_bytes()) == (frozenset(), {ref.sha256: 3})
    cache.append(ref, 3, b"lo")
    cache.finish(ref)
    assert (cache.cached(), cache.partial_bytes()) == (frozenset((ref.sha256,)), {})
    assert cache.check(ref).read_bytes() == b"hello"


def test_a_partial_file_is_found_again_by_the_next_process(cache, tmp_path):
    ref = ref_of(b"hello")
    cache.append(ref, 0, b"hel")
    assert FolderCache(tmp_path).partial_bytes() == {ref.sha256: 3}


@pytest.mark.parametrize("wrong", [b"hellO", b"hell", b""])
def test_wrong_bytes_are_thrown_away(cache, wrong):
    ref = ref_of(b"hello")
    cache.append(ref, 0, wrong)
    with pytest.raises(TemporaryError, match="thrown away"):
        cache.finish(ref)
    assert (cache.cached(), cache.partial_bytes()) == (frozenset(), {})


@pytest.mark.parametrize(("offset", "data"), [(1, b"x"), (0, b"longer than it may be"), (-1, b"x")])
def test_a_chunk_that_does_not_fit_is_refused(cache, offset, data):
    with pytest.raises(InvalidInputError):
        cache.append(ref_of(b"hello"), offset, data)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "/etc/passwd", "A" * 64, "a" * 63])
def test_a_name_that_is_no_sha256_never_becomes_a_path(cache, name):
    for call in (lambda: cache.append(ArtifactRef(name, 1), 0, b"x"), lambda: cache.path(name)):
        with pytest.raises(InvalidInputError):
            call()


def test_rotten_bytes_go_to_quarantine(cache, tmp_path):
    ref = put(cache, b"hello")
    cache.path(ref.sha256).write_bytes(b"hellO")
    with pytest.raises(TemporaryError, match="rotted"):
        cache.check(ref)
    assert cache.cached() == frozenset()
    assert (tmp_path / "quarantine" / ref.sha256).read_bytes() == b"hellO"


def test_a_vanished_artifact_is_fetched_again(cache):
    ref = put(cache, b"hello")
    cache.path(ref.sha256).unlink()
    with pytest.raises(TemporaryError, match="vanished"):
        cache.check(ref)


def test_the_quarantine_is_bounded(cache, tmp_path):
    for number in range(9):
        ref = put(cache, f"artifact {number}".encode())
        cache.path(ref.sha256).write_bytes(b"rot")
        with pytest.raises(TemporaryError):
            cache.check(ref)
    assert len(list((tmp_path / "quarantine").iterdir())) <= 4


def test_removing_takes_whole_and_partial_files_and_what_is_gone_already(cache):
    ref, half = put(cache, b"hello"), ref_of(b"half")
    cache.append(half, 0, b"ha")
    cache.remove([ref.sha256, half.sha256, "0" * 64])
    assert (cache.cached(), cache.partial_bytes()) == (frozenset(), {})


def test_a_file_limit_stands_for_a_full_disk_and_keeps_what_was_written(tmp_path):
    """RLIMIT_FSIZE makes write(2) fail in the middle of an artifact, as a full disk does (EFBIG instead of ENOSPC)."""
    script = """
import sys
from pathlib import Path
from muster_agent.adapters.cache_folder import FolderCache
from muster_protos.errors import TemporaryError
from muster_protos.model import ArtifactRef
cache = FolderCache(Path(sys.argv[1]))
ref = ArtifactRef("0" * 64, 10_000)
cache.append(ref, 0, b"x" * 4000)
try:
    cache.append(ref, 4000, b"x" * 4000)
except TemporaryError as error:
    print("temporary:", error)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert found.stdout.startswith("temporary:")
    assert FolderCache(tmp_path).partial_bytes()["0" * 64] >= 4000


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_left_says_so(cache, tmp_path):
    ref = ref_of(b"hello")
    (tmp_path / "partial" / ref.sha256).symlink_to("/dev/full")
    with pytest.raises(TemporaryError, match=r"disk full|cannot be written"):
        cache.append(ref, 0, b"hello")
