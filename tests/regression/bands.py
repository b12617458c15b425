"""What a variant came to, the band that it must stay in, and the file of all bands.

A band is made of what one or more seeds came to (another seed stands in for another CPU, whose sums differ and whose
training therefore gives other weights):

- shares (accuracy, agreement): low is three standard errors of a share of n samples under the mean of the seeds, or one
  under the worst of them if that is lower. Nothing is too good.
- size: 5 % on either side of the mean, or 1 % beyond the seeds if that is further.
- SQNR: 2 dB under the worst seed, at most 60; only where no training lies between the two, else it says little.
- counts of what the passes did: exact where all seeds agree, else 5 % beyond them.
- format, precision, outcome, the reason of a failure up to its first number: exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Band = Mapping[str, Any]
RENEW = "pytest tests/regression/test_templates.py --renew-bands 3 -k "
HEAD = """\
# Bands of size, accuracy and agreement of every template and variant; tests/regression/test_templates.py holds them.
#
# How they were measured: the templates with at most {epochs} epochs a training, on scikit-learn's 8 x 8 digits (1,100
# to train, 150 held out, 512 that judge), one thread, with as many seeds as each says; the top of bands.py says what
# makes a band of their measurements. "measured" is the mean of the seeds. agreement is with the baseline;
# parent_agreement and parent_sqnr_db are with what the variant was made from.
#
# After a change that is meant, look at what moved and renew what you meant to move, on a quiet machine or not:
#     .venv/bin/{renew}edge
# (a template's name; without -k all of them)
# and read the diff: it is the price of the change.
"""
_SHARES = ("accuracy", "agreement", "parent_agreement")
_SIZE, _BEYOND, _SQNR_DB = 0.05, 0.01, 2.0
_MOST_SQNR_DB = 60.0  # above is the rounding of floats


@dataclass(frozen=True, slots=True)
class Found:
    """One variant of one run. A variant without a file has its outcome and the reason only."""

    outcome: str  # "kept", "dropped", "failed"
    reason: str = ""  # up to its first number
    format: str = ""
    precision: str = ""
    size_bytes: int = 0
    n: int = 0
    accuracy: float = 0.0
    agreement: float = 0.0
    parent_agreement: float = 0.0
    parent_sqnr_db: float | None = None  # None where a training lies between the two, or nothing differs
    did: Mapping[str, Mapping[str, int]] | None = None  # counts by pass


def words(reason: str) -> str:
    """A reason without its figures."""
    return re.split(r"\d", reason)[0][:80].strip()


def band_of(seeds: Sequence[Found]) -> dict[str, Any]:
    """The band around what the seeds came to.

    Raises:
        ValueError: they ended differently, so there is nothing to pin.
    """
    first = seeds[0]
    if len({(one.outcome, one.reason, one.format, one.precision) for one in seeds}) > 1:
        raise ValueError(f"the seeds ended differently: {[(one.outcome, one.reason) for one in seeds]}")
    band: dict[str, Any] = {"seeds": len(seeds), "outcome": first.outcome}
    if first.reason:
        band["reason"] = first.reason
    if not first.format:
        return band
    band |= {"format": first.format, "precision": first.precision}
    band["size_bytes"] = _size([one.size_bytes for one in seeds])
    for name in _SHARES:
        band[name] = _share([getattr(one, name) for one in seeds], first.n)
    ratios = [one.parent_sqnr_db for one in seeds if one.parent_sqnr_db is not None]
    if len(ratios) == len(seeds):
        low = min(min(ratios) - _SQNR_DB, _MOST_SQNR_DB)
        band["parent_sqnr_db"] = {"measured": round(_mean(ratios), 1), "low": round(low, 1)}
    passes = first.did or {}
    band["did"] = {step: _counts([(one.did or {}).get(step, {}) for one in seeds]) for step in passes}
    return band


def misses(found: Found, band: Band) -> list[str]:
    """What is outside of the band, a line each: "size_bytes: measured 41000, band 43000 to 47000"."""
    exact = {name: band.get(name, "") for name in ("outcome", "reason", "format", "precision")}
    lines = [
        f"{name}: measured {getattr(found, name)!r}, band {wanted!r}"
        for name, wanted in exact.items()
        if getattr(found, name) != wanted
    ]
    if not band.get("format") or not found.format:
        return lines
    for name in ("size_bytes", *_SHARES, "parent_sqnr_db"):
        lines += _outside(name, getattr(found, name), band.get(name))
    for step in sorted({*band["did"], *(found.did or {})}):
        is_here, is_wanted = step in (found.did or {}), step in band["did"]
        if is_here and is_wanted:
            lines += _counts_outside(step, (found.did or {})[step], band["did"][step])
        else:
            lines.append(f"{step}: {'ran' if is_here else 'did not run'}, band: {'runs' if is_wanted else 'does not'}")
    return lines


def read(path: Path) -> dict[str, dict[str, Band]]:
    """Bands by run ("edge of cnn") and variant; those of a baseline ("cnn") are the variant "baseline"."""
    return yaml.safe_load(path.read_text()) or {} if path.is_file() else {}


def write(path: Path, bands: Mapping[str, Mapping[str, Band]], epochs: int) -> None:
    """The same in the file's own form: a line for each figure."""
    text = HEAD.format(epochs=epochs, renew=RENEW)
    for run in bands:
        text += f"\n{run}:\n"
        for variant, band in bands[run].items():
            text += f"  {variant}:\n"
            for name, value in band.items():
                is_block = name == "did" and value
                text += f"    {name}:\n" if is_block else f"    {name}: {_flow(value)}\n"
                text += (
                    "".join(f"      {step}: {_flow(counts)}\n" for step, counts in value.items()) if is_block else ""
                )
    path.write_text(text)


def _flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _share(values: Sequence[float], n: int) -> dict[str, float]:
    """Of a perfect share the error is that of one miss in n."""
    mean = _mean(values)
    near = min(mean, 1 - 1 / n)
    error = math.sqrt(near * (1 - near) / n)
    return {"measured": round(mean, 4), "low": round(min(mean - 3 * error, min(values) - error), 4)}


def _size(values: Sequence[int]) -> dict[str, int]:
    mean = _mean(values)
    low = min((1 - _SIZE) * mean, (1 - _BEYOND) * min(values))
    high = max((1 + _SIZE) * mean, (1 + _BEYOND) * max(values))
    return {"measured": round(mean), "low": math.floor(low), "high": math.ceil(high)}


def _counts(seeds: Sequence[Mapping[str, int]]) -> dict[str, int | list[int]]:
    found: dict[str, int | list[int]] = {}
    for name in seeds[0]:
        values = [one[name] for one in seeds if name in one]
        low, high = min(values), max(values)
        is_same = low == high and len(values) == len(seeds)
        found[name] = low if is_same else [math.floor((1 - _SIZE) * low), math.ceil((1 + _SIZE) * high)]
    return found


def _outside(name: str, value: float | None, band: Mapping[str, float] | None) -> list[str]:
    if band is None:
        return []
    low, high = band["low"], band.get("high", math.inf)
    if value is not None and low <= value <= high:
        return []
    wanted = f"at least {low:g}" if high == math.inf else f"{low} to {high}"
    return [f"{name}: measured {'nothing' if value is None else f'{value:.6g}'}, band {wanted}"]


def _counts_outside(step: str, found: Mapping[str, int], band: Mapping[str, int | list[int]]) -> list[str]:
    lines = []
    for name, wanted in band.items():
        low, high = wanted if isinstance(wanted, list) else (wanted, wanted)
        if name not in found or not low <= found[name] <= high:
            lines.append(
                f"{step}.{name}: measured {found.get(name)}, band {low if low == high else f'{low} to {high}'}"
            )
    return lines
