import numpy as np
import pytest

from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.load import load_data
from muster_compression.dataset.npz import load_npz
from muster_compression.dataset.splits import ONLY_INPUT, DataSet, Split
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import Signature, TensorSpec


def saved(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def signature(*shape: int, dtype: str = "float32") -> Signature:
    return Signature((TensorSpec("image", dtype, shape),), (TensorSpec("logits", "float32", (1, 10)),))


def test_splits_are_found_by_their_names(tmp_path):
    data = load_npz(saved(tmp_path, x_train=np.zeros((8, 3)), y_train=np.zeros(8, int), x_val=np.ones((4, 3))))
    assert data.train is not None
    assert data.train.labels is not None
    assert len(data.judging()) == 4
    assert data.judging().labels is None


def test_plain_x_and_y_judge(tmp_path):
    data = load_npz(saved(tmp_path, x=np.zeros((5, 3)), y=np.arange(5)))
    assert data.judging().labels.tolist() == [0, 1, 2, 3, 4]


def test_inputs_may_be_named(tmp_path):
    data = load_npz(saved(tmp_path, x_left=np.zeros((5, 3)), x_right=np.zeros((5, 2))))
    assert sorted(data.judging().inputs) == ["left", "right"]


def test_training_samples_alone_cannot_judge(tmp_path):
    with pytest.raises(InvalidInputError, match="hold some of them back"):
        load_npz(saved(tmp_path, x_train=np.zeros((8, 3)))).judging()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.full((8, 3), np.nan)}, "NaN"),
        ({"x": np.zeros((8, 3)), "y": np.zeros(7)}, "expected 8 labels"),
        ({"x": np.zeros((2, 3))}, "at least 4 samples"),
        ({"images": np.zeros((8, 3))}, r"expected arrays x_val .* found \['images'\]"),
        ({"x_a": np.zeros((8, 3)), "x_b": np.zeros((9, 3))}, "as many samples of each input"),
    ],
)
def test_wrong_data_get_one_clear_line(tmp_path, arrays, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        load_npz(saved(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}] * 8, dtype=object))
    with pytest.raises(InvalidInputError, match="plain arrays"):
        load_npz(tmp_path / "data.npz")


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InvalidInputError, match="does not load"):
        load_npz(tmp_path / "data.npz")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "data.npy", np.zeros(8))
    with pytest.raises(InvalidInputError, match=r"numpy\.savez"):
        load_npz(tmp_path / "data.npy")


def test_unknown_builtin_is_not_found():
    with pytest.raises(NotFoundError, match="did you mean it"):
        load_data("builtin:digit")


def test_channels_move_when_only_that_fits():
    images = np.arange(2 * 8 * 6 * 3, dtype=np.float32).reshape(2, 8, 6, 3)
    fitted = fit_samples(Split({ONLY_INPUT: images}), signature(1, 3, 8, 6), "data")
    assert np.array_equal(fitted.inputs["image"], images.transpose(0, 3, 1, 2))


def test_a_missing_channel_axis_is_bridged():
    fitted = fit_samples(Split({ONLY_INPUT: np.zeros((4, 8, 8), np.uint8)}), signature(1, 1, 8, 8), "data")
    assert fitted.inputs["image"].shape == (4, 1, 8, 8)
    assert fitted.inputs["image"].dtype == np.float32


def test_another_shape_is_refused_with_both():
    with pytest.raises(InvalidInputError, match=r"\[1, 8, 8\].*\[9, 9\]"):
        fit_samples(Split({ONLY_INPUT: np.zeros((4, 9, 9))}), signature(1, 1, 8, 8), "data")


def test_sampling_is_seeded_and_keeps_labels_with_their_inputs():
    split = Split({ONLY_INPUT: np.arange(100)[:, None]}, np.arange(100))
    first, second = split.sample(10, 3), split.sample(10, 3)
    assert np.array_equal(first.inputs[ONLY_INPUT][:, 0], first.labels)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.labels, split.sample(10, 4).labels)


def test_digits_are_split_without_overlap_and_scaled():
    digits = load_data("builtin:digits")
    assert isinstance(digits, DataSet)
    parts = [digits.train, digits.validation, digits.test]
    assert [len(part) for part in parts if part] == [1100, 350, 347]
    images = np.concatenate([part.inputs[ONLY_INPUT] for part in parts if part])
    assert images.shape == (1797, 1, 64, 64)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len({image.tobytes() for image in images}) == len(images)
