"""Samples that judge must neither train nor be held out, and those that are held out must not train."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import numpy as np

from muster_compression.dataset.splits import DataSet, Split
from muster_compression.dataset.training import training_splits
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature

_SHARE = 0.01
_HANDFUL = 5
_MOST_BY_NATURE = 0.5
_DEVIATIONS = 3.0
_DIGEST_BYTES = 16


def apart_splits(
    data: DataSet, judging: Split, signature: Signature, seed: int, is_ranking: bool = False
) -> tuple[Split | None, Split | None, list[str]]:
    """``training_splits``, and the notes of ``check_apart`` on them.

    ``is_ranking`` says that ``judging`` are held-out samples by intent (``Parent.is_ranking``): then they and the
    holdout are not compared.

    Raises:
        InvalidInputError: as both.
    """
    training, holdout = training_splits(data, signature, seed)
    if is_ranking:
        apart = [*check_apart(training, None, judging, data.name), *check_apart(training, holdout, None, data.name)]
    else:
        apart = check_apart(training, holdout, judging, data.name)
    return training, holdout, list(dict.fromkeys(apart))


def check_apart(training: Split | None, holdout: Split | None, judging: Split | None, name: str) -> list[str]:
    """Notes on the few samples that stand in two splits; rows are compared by the hash of their inputs, in canonical
    tensors.

    Some data repeat themselves by nature (blank pictures, few integer features): only what lies above the share that
    is expected from that counts, and a handful, or 1 %, is a note. More than half is refused whatever the reason: such
    figures would tell what was learned by heart.

    Raises:
        InvalidInputError: more than that; with the counts and what to do.
    """
    trained, held = _hashes(training), _hashes(holdout)
    judged = _hashes(judging)
    trains, holds = f"are among the {len(trained)} that train", "samples that are held out"
    way_out = "take them out of the data, or import the model with other samples to judge by"
    return [
        *_verdict(judged, trained, f"of {len(judged)} samples that judge {trains}", name, way_out),
        *_verdict(held, judged, f"of {len(held)} {holds} judge, too", name, way_out),
        *_verdict(held, trained, f"of {len(held)} {holds} {trains}", name, "keep each row of the data once"),
    ]


def _verdict(samples: list[bytes], others: list[bytes], what: str, name: str, way_out: str) -> list[str]:
    """Nothing, a note, or the error."""
    known, count = set(others), len(samples)
    found = sum(item in known for item in samples)
    if not found:
        return []
    twins = _by_nature(samples, others)
    noise = math.sqrt(twins * (1 - twins) * (1 / count + 1 / len(others)))  # of the samples and of the estimate
    expected = count * (twins + _DEVIATIONS * noise)
    allowed = max(_SHARE * count, min(_HANDFUL, 0.5 * count))
    if found - expected > allowed or found > max(_MOST_BY_NATURE * count, min(_HANDFUL, 0.5 * count)):
        raise InvalidInputError(
            f"{name}: expected splits apart from each other, found that {found} {what}: figures would flatter every "
            f"variant; {way_out}"
        )
    return [f"{name}: {found} {what}; alike by nature, or by mistake?"]


def _by_nature(samples: list[bytes], others: list[bytes]) -> float:
    """How likely a fresh sample has an equal one among ``others`` without anybody's mistake.

    That is the share of ``others`` that are not single (Good and Turing's estimate of what has been seen), unless rows
    were copied: then ``samples`` repeat themselves less often than ``others`` do, pair by pair, and the share shrinks
    in that proportion. More than one half of ``others`` counts as copies, too: by nature so much would be refused.
    """
    share = sum(count for count in Counter(others).values() if count > 1) / max(1, len(others))
    if not share or share > _MOST_BY_NATURE:
        return 0.0
    among_others = _equal_pairs(others) / math.comb(len(others), 2)
    expected = among_others * math.comb(len(samples), 2)
    seen = _equal_pairs(samples)
    return share if not expected else share * min(1.0, (seen + _DEVIATIONS * math.sqrt(seen + 1)) / expected)


def _equal_pairs(samples: list[bytes]) -> int:
    return sum(math.comb(count, 2) for count in Counter(samples).values())


def _hashes(split: Split | None) -> list[bytes]:
    """One per sample, over all inputs."""
    if split is None:
        return []
    arrays = [np.ascontiguousarray(split.inputs[key]) for key in sorted(split.inputs)]
    found = []
    for index in range(len(split)):
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for values in arrays:
            digest.update(values[index].tobytes())
        found.append(digest.digest())
    return found
