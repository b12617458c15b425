import numpy as np
import pytest

from muster_compression.dataset.overlap import check_apart
from muster_compression.dataset.splits import Split
from muster_protos.errors import InvalidInputError


def pictures(start: int, count: int) -> np.ndarray:
    """Each is different."""
    return np.arange(start, start + count, dtype=np.float32).reshape(count, 1, 1, 1) * np.ones((1, 1, 4, 4), np.float32)


def split(*parts: np.ndarray) -> Split:
    return Split({"image": np.concatenate(parts)})


def test_data_apart_say_nothing():
    assert check_apart(split(pictures(0, 400)), split(pictures(400, 60)), split(pictures(1000, 200)), "d") == []


def test_judging_samples_that_train_are_refused_with_the_counts():
    training = split(pictures(0, 400), pictures(1000, 20))
    words = "d: .* found that 20 of 200 samples that judge are among the 420 that train: .* take them out of the data"
    with pytest.raises(InvalidInputError, match=words):
        check_apart(training, None, split(pictures(1000, 200)), "d")


def test_held_out_samples_that_judge_are_refused():
    holdout = split(pictures(400, 40), pictures(1000, 10))
    with pytest.raises(InvalidInputError, match="found that 10 of 50 samples that are held out judge, too"):
        check_apart(split(pictures(0, 400)), holdout, split(pictures(1000, 200)), "d")


def test_all_of_a_few_samples_are_no_handful():
    with pytest.raises(InvalidInputError, match="4 of 4 samples that judge"):
        check_apart(split(pictures(0, 400)), None, split(pictures(0, 4)), "d")


def test_a_blank_picture_or_two_are_a_note():
    blank = pictures(-1, 1)
    training = split(pictures(0, 400), blank, blank)
    notes = check_apart(training, None, split(pictures(1000, 62), blank, blank), "d")
    assert notes == ["d: 2 of 64 samples that judge are among the 402 that train; alike by nature, or by mistake?"]


def test_data_that_repeat_themselves_by_nature_are_a_note():
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (700, 6)).astype(np.float32)
    notes = check_apart(Split({"x": bits[:500]}), Split({"x": bits[500:600]}), Split({"x": bits[600:]}), "d")
    assert [note.partition(";")[2] for note in notes] == [" alike by nature, or by mistake?"] * 2


def test_every_input_counts():
    one, other = np.zeros((100, 2), np.float32), np.arange(100, dtype=np.float32)
    training = Split({"a": one, "b": other})
    assert check_apart(training, None, Split({"a": one, "b": other + 500}), "d") == []
