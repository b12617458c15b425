"""The cache's hash under way counts only for bytes that this process wrote from the first one on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from muster_agent.adapters.cache_folder import FolderCache
from muster_protos.errors import TemporaryError
from muster_protos.model import ArtifactRef

CONTENT = bytes(range(256)) * 40
REF = ArtifactRef(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def append(cache: FolderCache, content: bytes, start: int = 0, step: int = 1000) -> None:
    for offset in range(start, len(content), step):
        cache.append(REF, offset, content[offset : offset + step])


def test_bytes_in_one_go_get_their_name(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path)
    append(cache, CONTENT)
    cache.finish(REF)
    assert cache.check(REF).read_bytes() == CONTENT


@pytest.mark.parametrize("spoiled", [0, 5000, len(CONTENT) - 1])
def test_one_wrong_byte_gets_no_name(tmp_path: Path, spoiled: int) -> None:
    cache = FolderCache(tmp_path)
    wrong = bytearray(CONTENT)
    wrong[spoiled] ^= 1
    append(cache, bytes(wrong))
    with pytest.raises(TemporaryError, match="thrown away"):
        cache.finish(REF)
    assert cache.cached() == frozenset()
    append(cache, CONTENT)
    cache.finish(REF)


def test_file_begun_by_an_earlier_process_is_read_back(tmp_path: Path) -> None:
    append(FolderCache(tmp_path), CONTENT[:5000])
    cache = FolderCache(tmp_path)
    append(cache, CONTENT, start=5000)
    cache.finish(REF)
    assert cache.check(REF).read_bytes() == CONTENT


def test_bad_bytes_of_an_earlier_process_are_found(tmp_path: Path) -> None:
    append(FolderCache(tmp_path), b"\0" * 5000)
    cache = FolderCache(tmp_path)
    append(cache, CONTENT, start=5000)
    with pytest.raises(TemporaryError, match="thrown away"):
        cache.finish(REF)


def test_bytes_that_another_hand_wrote_in_between_are_read_back(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path)
    append(cache, CONTENT[:3000])
    with (tmp_path / "partial" / REF.sha256).open("ab") as file:
        file.write(b"\0" * 1000)
    append(cache, CONTENT, start=4000)
    with pytest.raises(TemporaryError, match="thrown away"):
        cache.finish(REF)


def test_fetch_that_starts_over_starts_its_hash_over(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path)
    append(cache, CONTENT[:3000])
    (tmp_path / "partial" / REF.sha256).unlink()
    append(cache, CONTENT)
    cache.finish(REF)
    assert cache.cached() == {REF.sha256}
