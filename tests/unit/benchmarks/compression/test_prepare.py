from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.compression.prepare import cifar, mnist, prepared, spoken_digits
from muster_compression.dataset.npz import load_npz
from muster_protos.errors import NotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The development data in small, made up."""
    (tmp_path / "vision").mkdir()
    (tmp_path / "audio").mkdir()
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (2100, 28, 28), dtype=np.uint8)
    pictures[:, 0, 0] = np.arange(2100) % 256
    pictures[:, 0, 1] = np.arange(2100) // 256
    np.savez(
        tmp_path / "vision" / "mnist_dev.npz",
        x_train=pictures,
        y_train=np.arange(2100) % 10,
        x_test=pictures[:20],
        y_test=np.arange(20) % 10,
    )
    recordings = [random.integers(-9000, 9000, 2000 + 10 * index).astype(np.int16) for index in range(40)]
    np.savez(
        tmp_path / "audio" / "fsdd_dev.npz",
        audio=np.concatenate(recordings),
        off=np.concatenate([[0], np.cumsum([len(item) for item in recordings])]),
        rate=8000,
        label=(np.arange(40) % 2).astype(np.uint8),
        speaker=np.array(["ada", "bob"] * 20),
        take=(np.arange(40) // 2).astype(np.uint8),
    )
    return tmp_path


def write_cifar(folder: Path) -> np.ndarray:
    colours = np.zeros((1600, 32, 32, 3), np.uint8)
    colours[:, :, :, 0] = (np.arange(1600) % 200)[:, None, None]
    packed = []
    for picture in colours:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95)
        packed.append(buffer.getvalue())
    ends = np.concatenate([[0], np.cumsum([len(item) for item in packed])])
    payload = np.frombuffer(b"".join(packed), np.uint8)
    labels = (np.arange(1600) % 10).astype(np.uint8)
    np.savez(
        folder / "vision" / "cifar10_jpeg_dev.npz",
        train_jpeg=payload,
        train_off=ends,
        y_train=labels,
        test_jpeg=payload[: ends[10]],
        test_off=ends[:11],
        y_test=labels[:10],
    )
    return colours


def test_validation_comes_from_training_and_shares_no_sample_with_it(folder):
    found = mnist(folder)
    assert [len(found[f"x_{part}"]) for part in ("train", "val", "test")] == [100, 2000, 20]
    corners = {tuple(picture[0, 0, :2]) for part in ("train", "val") for picture in found[f"x_{part}"]}
    assert len(corners) == 2100


def test_takes_split_the_spoken_digits_and_speakers_are_kept(folder):
    found = spoken_digits(folder)
    assert [len(found[f"x_{part}"]) for part in ("train", "val", "test")] == [20, 10, 10]
    assert found["x_test"].shape[1:] == (1, 64, 64)
    assert set(found["speaker_test"]) == {"ada", "bob"}
    assert found["x_train"].mean() == pytest.approx(0, abs=1e-4)
    assert found["x_train"].std() == pytest.approx(1, abs=1e-3)


def test_jpeg_pictures_come_out_with_channels_first(folder):
    colours = write_cifar(folder)
    found = cifar(folder)
    assert found["x_test"].shape == (10, 3, 32, 32)
    red = found["x_test"][:, 0].mean(axis=(1, 2)) * 0.2470 + 0.4914
    assert red == pytest.approx(colours[:10, 0, 0, 0] / 255, abs=0.02)


def test_the_product_takes_what_is_kept_and_it_is_made_once(folder, tmp_path):
    path = prepared(spoken_digits, folder, tmp_path / "cache")
    data = load_npz(path)
    assert data.train is not None
    assert len(data.judging()) == 10
    made_ns = path.stat().st_mtime_ns
    assert prepared(spoken_digits, folder, tmp_path / "cache") == path
    assert path.stat().st_mtime_ns == made_ns


def test_another_file_in_the_data_folder_is_other_data(folder, tmp_path):
    path = prepared(spoken_digits, folder, tmp_path / "cache")
    source = folder / "audio" / "fsdd_dev.npz"
    with np.load(source) as arrays:
        np.savez(source.with_name("other.npz"), **{**arrays, "label": (arrays["label"] + 1) % 10})
    source.with_name("other.npz").replace(source)
    other = prepared(spoken_digits, folder, tmp_path / "cache")
    assert other != path
    source.unlink()
    with pytest.raises(NotFoundError, match=r"fsdd_dev\.npz"):
        prepared(spoken_digits, folder, tmp_path / "cache")


def test_a_missing_file_is_named_with_the_way_out(tmp_path):
    with pytest.raises(NotFoundError, match=r"mnist_dev\.npz.*--data-folder"):
        mnist(tmp_path)
