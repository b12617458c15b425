import pytest

from muster_compression.search.lock import alone_in
from muster_protos.errors import ConflictError


def test_a_folder_is_for_one_at_a_time_and_free_again_afterwards(tmp_path):
    folder = tmp_path / "deep" / "out"
    with alone_in(folder), pytest.raises(ConflictError, match="another search works in"), alone_in(folder):
        pass
    assert not folder.exists()  # it was new and stayed empty
    with alone_in(folder):
        (folder / "found").touch()
    assert [path.name for path in folder.iterdir()] == ["found"]


def test_a_folder_that_was_there_stays(tmp_path):
    with alone_in(tmp_path):
        pass
    assert tmp_path.is_dir()
