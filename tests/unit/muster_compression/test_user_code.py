from __future__ import annotations

import pickle
from pathlib import Path

from muster_compression.sources.user_code import load_function

NET = """
class Net:
    width = {width}

def make():
    return Net()
"""


def test_two_files_of_one_name_keep_their_classes_apart(tmp_path: Path, monkeypatch) -> None:
    for name, width in (("model", 64), ("student", 8)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twins.py").write_text(NET.format(width=width))
    made = [load_function(tmp_path / name / "twins.py", "make")() for name in ("model", "student")]
    assert [item.width for item in (pickle.loads(pickle.dumps(item)) for item in made)] == [64, 8]
    monkeypatch.chdir(tmp_path)
    again = load_function(Path("student/twins.py"), "make")()
    assert type(again) is type(made[1])
