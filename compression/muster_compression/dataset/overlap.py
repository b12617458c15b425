"""Samples that judge must not train, and must not be held out either."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from muster_compression.dataset.splits import Split
from muster_protos.errors import InvalidInputError

_SHARE = 0.01
_HANDFUL = 5
_DIGEST_BYTES = 16


def check_apart(training: Split | None, holdout: Split | None, judging: Split, name: str) -> list[str]:
    """Notes on the few samples that stand in both; rows are compared by the hash of their inputs, in canonical tensors.

    Some data repeat themselves by nature (blank pictures, few integer features). As many rows of ``training`` that have
    a twin in there say how often a fresh sample would have one; only what lies above that share counts. A handful, or
    1 %, is a note.

    Raises:
        InvalidInputError: more than that; with the counts and what to do.
    """
    judged = _hashes(judging)
    notes = []
    if training is not None:
        trained = _hashes(training)
        what = f"of {len(judging)} samples that judge are among the {len(training)} that train"
        notes += _verdict(_common(judged, trained), len(judged), _twins(trained), what, name)
    if holdout is not None:
        held = _hashes(holdout)
        what = f"of {len(holdout)} samples that are held out judge, too"
        notes += _verdict(_common(held, judged), len(held), _twins(held), what, name)
    return notes


def _verdict(found: int, count: int, twins: float, what: str, name: str) -> list[str]:
    """A note, or the error."""
    if found - twins * count > max(_SHARE * count, min(_HANDFUL, 0.5 * count)):
        raise InvalidInputError(
            f"{name}: expected data apart from the samples that judge, found that {found} {what}: figures would "
            "flatter every variant; take them out of the data, or import the model with other samples to judge by"
        )
    return [f"{name}: {found} {what}; alike by nature, or by mistake?"] if found else []


def _common(samples: list[bytes], others: list[bytes]) -> int:
    """How many of ``samples`` are among ``others``."""
    known = set(others)
    return sum(item in known for item in samples)


def _twins(samples: list[bytes]) -> float:
    """The share of samples with an equal one beside them."""
    return sum(count for count in Counter(samples).values() if count > 1) / max(1, len(samples))


def _hashes(split: Split) -> list[bytes]:
    """One per sample, over all inputs."""
    arrays = [np.ascontiguousarray(split.inputs[key]) for key in sorted(split.inputs)]
    found = []
    for index in range(len(split)):
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for values in arrays:
            digest.update(values[index].tobytes())
        found.append(digest.digest())
    return found
