import pytest

from muster_compression.dataset.load import load_data
from muster_compression.sources.user_code import load_function
from muster_protos.errors import InvalidInputError, NotFoundError

CODE = """
import numpy as np
calls = []

def make():
    calls.append(1)
    rng = np.random.default_rng(0)
    return {"x_train": rng.random((8, 3)), "x_val": rng.random((6, 3)), "y_val": [0, 1, 0, 1, 0, 1]}

def calls_of():
    return calls

def tensors():
    import torch
    return {"x_val": torch.ones(5, 3), "y_val": torch.arange(5)}

def a_list():
    return [1, 2]

def ragged():
    return {"x_val": [[1.0], [1.0, 2.0]]}

def texts():
    return {"x_val": np.zeros((5, 3)), "y_val": list("abcde")}

def nan():
    return {"x_val": np.full((5, 3), np.nan)}

def few():
    return {"x_val": np.zeros((3, 3)), "y_val": [0, 1, 0]}

def fails():
    raise OSError("the disk\\nis not there")

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "samples.py"
    path.write_text(CODE)
    return path


def test_a_function_gives_what_an_npz_would(code):
    data = load_data(f"{code}:make")
    assert data.name == "samples.py:make"
    assert len(data.train) == 8
    assert data.judging().labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_tensors_are_arrays_too(code):
    pytest.importorskip("torch")
    assert load_data(f"{code}:tensors").judging().labels.tolist() == [0, 1, 2, 3, 4]


def test_a_file_runs_once_for_all_its_functions(code):
    make = load_function(code, "make")
    make()
    assert load_function(code, "calls_of")() == [1]


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        ("a_list", InvalidInputError, r"samples.py:a_list: expected a dict of arrays .*, found list"),
        ("ragged", InvalidInputError, "expected 'x_val' as an array, found list"),
        ("texts", InvalidInputError, "expected 'y_val' as an array of numbers"),
        ("nan", InvalidInputError, "expected finite values, found NaN"),
        ("few", InvalidInputError, "expected at least 4 samples in val, found 3"),
        ("fails", InvalidInputError, "samples.py:fails failed: OSError: the disk is not there"),
        ("leaves", InvalidInputError, "samples.py:leaves failed: SystemExit: 3"),
        ("nothing", NotFoundError, "samples.py has no function 'nothing'; it has make, calls_of"),
    ],
)
def test_what_is_wrong_is_one_line(code, function, kind, words):
    with pytest.raises(kind, match=words) as caught:
        load_data(f"{code}:{function}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_does_not_run_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="expected a Python file with a function 'make'"):
        load_data(f"{tmp_path}/gone.py:make")
    (tmp_path / "broken.py").write_text("import nosuchmodule\n")
    with pytest.raises(InvalidInputError, match=r"broken\.py:make failed: ModuleNotFoundError"):
        load_data(f"{tmp_path}/broken.py:make")
