import numpy as np
import pytest

from muster_compression.dataset.overlap import apart_splits, check_apart
from muster_compression.dataset.splits import DataSet, Split
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec


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
    bits = random.integers(0, 2, (700, 11)).astype(np.float32)
    notes = check_apart(Split({"x": bits[:500]}), Split({"x": bits[500:600]}), Split({"x": bits[600:]}), "d")
    assert [note.partition(";")[2] for note in notes] == [" alike by nature, or by mistake?"] * 3
    assert " 22 of 100 samples that judge are among the 500 that train" in notes[0]


@pytest.mark.parametrize("leaked", [200, 60, 20, 8])
def test_rows_that_stand_there_twice_hide_no_leak(leaked):
    rows = pictures(0, 400)
    judging = split(pictures(0, leaked), pictures(1000, 200 - leaked))
    with pytest.raises(InvalidInputError, match=f"found that {leaked} of 200 samples that judge are among the 800"):
        check_apart(split(rows, rows), None, judging, "d")


def test_a_few_rows_that_were_copied_hide_no_leak_either():
    training = split(pictures(0, 400), pictures(0, 100))
    judging = split(pictures(330, 70), pictures(1000, 130))
    with pytest.raises(InvalidInputError, match="found that 70 of 200 samples that judge"):
        check_apart(training, None, judging, "d")


def test_more_than_half_is_refused_whatever_repeats_itself():
    bits = np.random.default_rng(0).integers(0, 2, (700, 6)).astype(np.float32)
    with pytest.raises(InvalidInputError, match="found that 200 of 200 samples that judge are among the 500"):
        check_apart(Split({"x": bits[:500]}), None, Split({"x": bits[500:]}), "d")


def test_held_out_samples_that_train_are_refused_with_the_way_out():
    holdout = split(pictures(380, 20), pictures(600, 30))
    words = (
        "found that 20 of 50 samples that are held out are among the 400 that train: .*keep each row of the data once"
    )
    with pytest.raises(InvalidInputError, match=words):
        check_apart(split(pictures(0, 400)), holdout, split(pictures(1000, 200)), "d")


def test_every_input_counts():
    one, other = np.zeros((100, 2), np.float32), np.arange(100, dtype=np.float32)
    training = Split({"a": one, "b": other})
    assert check_apart(training, None, Split({"a": one, "b": other + 500}), "d") == []


@pytest.mark.parametrize("is_ranking", [False, True])
def test_held_out_samples_that_rank_are_compared_with_training_alone(is_ranking):
    spec = TensorSpec("x", "float32", (1, 1, 4, 4))
    signature = Signature((spec,), (TensorSpec("y", "float32", (1, 2)),))
    labels = np.arange(400) % 2
    training = Split({"x": pictures(0, 400)}, labels)
    holdout = Split({"x": pictures(1000, 60)}, labels[:60])
    data = DataSet("d", training, holdout, Split({"x": pictures(2000, 60)}, labels[:60]))
    if is_ranking:
        assert apart_splits(data, holdout, signature, 0, is_ranking=True)[2] == []
        with pytest.raises(InvalidInputError, match="60 of 60 samples that judge are among the 400 that train"):
            apart_splits(data, training.take(np.arange(60)), signature, 0, is_ranking=True)
    else:
        with pytest.raises(InvalidInputError, match="60 of 60 samples that are held out judge, too"):
            apart_splits(data, holdout, signature, 0)
