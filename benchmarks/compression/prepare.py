"""Data of a task as one npz in the product's own form: ``x_train,y_train,x_val,y_val,x_test,y_test``.

The test split judges and does nothing else; the validation split is taken from the training samples, by a seed or, for
the spoken digits, as takes 5 to 9 of every speaker (takes 0 to 4 are the official test part).
"""

from __future__ import annotations

import hashlib
import inspect
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.log_mel import __file__ as log_mel_code
from benchmarks.compression.log_mel import log_mel
from muster_compression.artifact import write_bytes
from muster_protos.errors import MissingExtraError, NotFoundError

Arrays: TypeAlias = dict[str, NDArray[Any]]
Prepare: TypeAlias = Callable[[Path], Arrays]

SOURCES = {
    "mnist": "vision/mnist_dev.npz",
    "cifar": "vision/cifar10_jpeg_dev.npz",
    "spoken_digits": "audio/fsdd_dev.npz",
}
"""What each function reads, below the data folder."""
_SEED = 0
_MNIST_MEAN, _MNIST_STD = np.float32(0.1307), np.float32(0.3081)
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_TEST_TAKES, _VALIDATION_TAKES = range(5), range(5, 10)


def prepared(make: Prepare, folder: Path, cache: Path) -> Path:
    """What ``make`` gives as an npz, made when it is not there yet for this code and these files.

    Raises:
        NotFoundError: the data folder lacks a file.
        MissingExtraError: pillow is not installed.
    """
    path = cache / f"{make.__name__}.{_input_sha256(make, folder)[:12]}.npz"
    if not path.is_file():
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **make(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())
    return path


def mnist(folder: Path) -> Arrays:
    """18,000 / 2,000 / 5,000 pictures (n, 1, 28, 28), standardised with the usual mean and deviation."""
    found = _read(folder / SOURCES["mnist"])
    scaled = {
        key: (found[key][:, None].astype(np.float32) / np.float32(255) - _MNIST_MEAN) / _MNIST_STD
        for key in ("x_train", "x_test")
    }
    return _split(scaled["x_train"], found["y_train"], scaled["x_test"], found["y_test"], held=2000)


def cifar(folder: Path) -> Arrays:
    """9,000 / 1,500 / 2,000 pictures (n, 3, 32, 32), standardised per channel; three hours have room for no more."""
    found = _read(folder / SOURCES["cifar"])
    train, test = (_decoded(found[f"{part}_jpeg"], found[f"{part}_off"]) for part in ("train", "test"))
    return _split(train, found["y_train"], test, found["y_test"], held=1500, most=9000)


def spoken_digits(folder: Path) -> Arrays:
    """1,600 / 200 / 200 log-mel pictures (n, 1, 64, 64), standardised by the training samples; the speaker of each."""
    found = _read(folder / SOURCES["spoken_digits"])
    audio, ends = found["audio"], found["off"]
    pictures = np.stack([log_mel(audio[start:end]) for start, end in itertools.pairwise(ends)])[:, None]
    is_test, is_held = (np.isin(found["take"], list(takes)) for takes in (_TEST_TAKES, _VALIDATION_TAKES))
    rows = {"train": ~is_test & ~is_held, "val": is_held, "test": is_test}
    mean, deviation = pictures[rows["train"]].mean(), pictures[rows["train"]].std()
    arrays: Arrays = {}
    for part, chosen in rows.items():
        arrays[f"x_{part}"] = (pictures[chosen] - mean) / deviation
        arrays[f"y_{part}"] = found["label"][chosen].astype(np.int64)
        arrays[f"speaker_{part}"] = found["speaker"][chosen]
    return arrays


def _input_sha256(make: Prepare, folder: Path) -> str:
    """Of the code and of the file that it reads.

    Raises:
        NotFoundError: the data folder lacks it.
    """
    code = {Path(log_mel_code), Path(inspect.getsourcefile(make) or __file__)}
    source = [_found(folder / SOURCES[make.__name__])] if make.__name__ in SOURCES else []
    return hashlib.sha256(b"".join(path.read_bytes() for path in (*sorted(code), *source))).hexdigest()


def _split(
    x: NDArray[np.float32],
    y: NDArray[np.generic],
    x_test: NDArray[np.float32],
    y_test: NDArray[np.generic],
    held: int,
    most: int | None = None,
) -> Arrays:
    """``held`` of the training samples, drawn by the seed, become the validation samples."""
    order = np.random.default_rng(_SEED).permutation(len(x))
    val, train = np.sort(order[:held]), np.sort(order[held:][:most])
    return {
        "x_train": x[train].astype(np.float32),
        "y_train": y[train].astype(np.int64),
        "x_val": x[val].astype(np.float32),
        "y_val": y[val].astype(np.int64),
        "x_test": x_test.astype(np.float32),
        "y_test": y_test.astype(np.int64),
    }


def _decoded(payload: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.float32]:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("the JPEG pictures of CIFAR-10 need pillow: pip install pillow") from error
    pairs = itertools.pairwise(ends)
    opened = (Image.open(io.BytesIO(payload[start:end].tobytes())) for start, end in pairs)
    pictures = np.stack([np.asarray(picture.convert("RGB"), np.float32) for picture in opened]) / np.float32(255)
    standard = (pictures - np.array(_CIFAR_MEAN, np.float32)) / np.array(_CIFAR_STD, np.float32)
    return np.ascontiguousarray(standard.transpose(0, 3, 1, 2))


def _read(path: Path) -> Arrays:
    with np.load(_found(path), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _found(path: Path) -> Path:
    if not path.is_file():
        raise NotFoundError(
            f"no {path}: --data-folder names the folder with vision/ and audio/ of the development data"
        )
    return path
