"""Outputs of passes by the hash of everything that went into them."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from muster_compression.artifact import ref_of, write_bytes
from muster_compression.dataset.splits import Array
from muster_compression.manifest import tool_versions
from muster_compression.passes.port import PassOutput, PassRecord, Settings, WorkingModel
from muster_compression.passes.registry import PassSpec


def pass_key(model: WorkingModel, spec: PassSpec, settings: Settings, samples_sha256: str, seed: int) -> str:
    """sha256 over input bytes, pass and its code, settings, samples, seed and library versions."""
    parts = {
        "input": ref_of(model.path).sha256,
        "pass": spec.name,
        "code": _code_sha256(),
        "settings": settings.model_dump(mode="json"),
        "samples": samples_sha256,
        "seed": seed,
        "libraries": dict(tool_versions(spec.libraries)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_sha256() -> str:
    """Of every pass and of what it does to graphs: whoever changes them need not remember to clear a cache."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("passes/*.py"), *here.glob("graph/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def samples_sha256(samples: Mapping[str, Array]) -> str:
    """One hash for all calibration samples."""
    digest = hashlib.sha256()
    for name in sorted(samples):
        values = samples[name]
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


class PassCache:
    """A folder per key: the output's bytes, their hash and the record. A damaged entry counts as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "passes"

    def get(self, key: str, spec: PassSpec, out_path: Path) -> PassOutput | None:
        """Copy the output to ``out_path`` when it is there and whole."""
        entry = self._folder / key
        try:
            stored = json.loads((entry / "record.json").read_text(encoding="utf-8"))
            if ref_of(entry / "output").sha256 != stored["sha256"]:
                return None
            record = TypeAdapter(PassRecord).validate_python(stored["record"])
            shutil.copyfile(entry / "output", out_path)
        except (OSError, ValueError, KeyError):
            return None
        return PassOutput(WorkingModel(out_path, spec.gives), record)

    def put(self, key: str, output: PassOutput) -> None:
        """Store the output; the record is written last, so an entry without one is not there."""
        entry = self._folder / key
        payload = output.model.path.read_bytes()
        write_bytes(entry / "output", payload)
        record = TypeAdapter(PassRecord).dump_python(output.record, mode="json")
        stored = {"sha256": hashlib.sha256(payload).hexdigest(), "record": record}
        write_bytes(entry / "record.json", json.dumps(stored, sort_keys=True).encode())
