"""Outputs of passes by the hash of everything that went into them."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from muster_compression.artifact import ref_of, write_bytes
from muster_compression.code_identity import pass_code_sha256
from muster_compression.dataset.splits import Array, Split
from muster_compression.manifest import tool_versions
from muster_compression.passes.port import Form, PassContext, PassOutput, PassRecord, Settings, WorkingModel
from muster_compression.passes.registry import PassSpec

_STALE_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SampleHashes:
    """sha256 of the samples that a pass may see; "" = there are none."""

    calibration: str = ""
    training: str = ""
    holdout: str = ""


def pass_key(
    model: WorkingModel, spec: PassSpec, settings: Settings, samples: SampleHashes, context: PassContext
) -> str:
    """sha256 over everything that decides the output.

    Input, pass, settings, calibration samples, seed, library versions and the pass's own code always; training and
    holdout samples where the pass sees them; for passes over torch models also threads, the baseline, and the variants
    that the settings name as teachers.
    """
    parts = {
        "input": identity_of(model),
        "pass": spec.name,
        "code": pass_code_sha256(spec.module),
        "settings": settings.model_dump(mode="json"),
        "samples": samples.calibration,
        "seed": context.seed,
        "libraries": dict(tool_versions(spec.libraries)),
    }
    if spec.sees_samples:
        parts |= {"training": samples.training, "holdout": samples.holdout}
    if Form.TORCH in spec.takes:
        parts |= {
            "signature": repr(context.signature),
            "threads": context.threads,
            "branches": _branches(settings, context.branches),
        }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def identity_of(model: WorkingModel) -> str:
    """What the model is: named by whoever made it, else the sha256 of its bytes."""
    return model.identity or ref_of(model.path).sha256


def _branches(settings: Settings, branches: Mapping[str, WorkingModel]) -> dict[str, str]:
    """The baseline, and those that the settings name."""
    named = json.dumps(settings.model_dump(mode="json"))
    wanted = {name for name in branches if name == "baseline" or json.dumps(name) in named}
    return {name: identity_of(branches[name]) for name in sorted(wanted)}


def samples_sha256(samples: Mapping[str, Array]) -> str:
    """One hash for all samples."""
    digest = hashlib.sha256()
    for name in sorted(samples):
        values = samples[name]
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def split_sha256(split: Split | None) -> str:
    """One hash for samples and labels."""
    if split is None:
        return ""
    labels = {} if split.labels is None else {"labels": split.labels}
    return samples_sha256({**{f"x_{name}": values for name, values in split.inputs.items()}, **labels})


@dataclass(frozen=True, slots=True)
class Cached:
    """A stored output and how long it took to make."""

    output: PassOutput
    wall_s: float


class PassCache:
    """A folder per key: the output's bytes, their hash and the record. A damaged entry counts as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "passes"
        self._checkpoints = folder / "checkpoints"

    def get(self, key: str, spec: PassSpec, out_path: Path) -> Cached | None:
        """Copy the output to ``out_path`` when it is there and whole."""
        entry = self._folder / key
        try:
            stored = json.loads((entry / "record.json").read_text(encoding="utf-8"))
            if ref_of(entry / "output").sha256 != stored["sha256"]:
                return None
            record = TypeAdapter(PassRecord).validate_python(stored["record"])
            shutil.copyfile(entry / "output", out_path)
            output = PassOutput(WorkingModel(out_path, spec.gives), record)
            return Cached(named(output, key), float(stored["wall_s"]))
        except (OSError, ValueError, KeyError):
            return None

    def put(self, key: str, output: PassOutput, wall_s: float) -> None:
        """Store the output; the record is written last, so an entry without one is not there.

        The checkpoints of its making are not needed any more.
        """
        entry = self._folder / key
        payload = output.model.path.read_bytes()
        write_bytes(entry / "output", payload)
        record = TypeAdapter(PassRecord).dump_python(output.record, mode="json")
        stored = {"sha256": hashlib.sha256(payload).hexdigest(), "record": record, "wall_s": wall_s}
        write_bytes(entry / "record.json", json.dumps(stored, sort_keys=True).encode())
        self.forget(key)

    def checkpoints(self, key: str) -> Path:
        """A folder for what a pass wants to find again after a kill; those that nobody came back for are removed."""
        if self._checkpoints.is_dir():
            for folder in self._checkpoints.iterdir():
                if folder.name != key and time.time() - folder.stat().st_mtime > _STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)
        return self._checkpoints / key

    def forget(self, key: str) -> None:
        """Remove the checkpoints of this key."""
        shutil.rmtree(self._checkpoints / key, ignore_errors=True)


def named(output: PassOutput, key: str) -> PassOutput:
    """A torch form is known by the key that made it: its own bytes do not hold the user's code."""
    if output.model.form is not Form.TORCH:
        return output
    return replace(output, model=replace(output.model, identity=key))
