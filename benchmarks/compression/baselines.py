"""The teacher as the product imports it, in both formats, with the whole test set beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compression.ask import Memory, write_references
from benchmarks.compression.measure import Subject
from muster_compression.artifact import write_npz
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.npz import load_npz
from muster_compression.export_model import export_model
from muster_compression.import_model import import_model
from muster_compression.orders import ImportedModel
from muster_compression.part_of import OnProgress, part_of
from muster_protos.model import Accuracy, Format


@dataclass(frozen=True, slots=True)
class Baseline:
    """What variants of one format are compared with."""

    imported: ImportedModel
    subject: Subject
    samples: Path  # the whole test set and the teacher's answers to it
    accuracy: Accuracy

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.imported.manifest.artifact.size_bytes


def baselines(
    name: str, source: str, data: Path, folder: Path, memory: Memory, on_progress: OnProgress
) -> Mapping[Format, Baseline]:
    """Both; ``source`` is ``net.py:make``. The TFLite one is exported first and imported as a file."""
    found = {}
    for index, wanted in enumerate((Format.ONNX, Format.TFLITE)):
        report = part_of(on_progress, 0.5 * index, 0.5, wanted.value)
        place = folder / wanted.value
        shutil.rmtree(place, ignore_errors=True)
        given = source
        if wanted is Format.TFLITE:
            given = str(export_model(source, wanted, name, str(data), place / "exported", report).path)
        imported = import_model(given, name, 1, str(data), place, report)
        found[wanted] = _whole(imported, data, folder, memory)
    return found


def _whole(imported: ImportedModel, data: Path, folder: Path, memory: Memory) -> Baseline:
    """Judged on every test sample; what the product keeps is a sample of them."""
    manifest = imported.manifest
    subject = Subject(imported.artifact_path, manifest.format, imported.signature)
    samples = folder / f"test.{manifest.artifact.sha256[:16]}.npz"
    if not samples.is_file():
        test = fit_samples(load_npz(data).judging(), imported.signature, data.name)
        assert test.labels is not None
        bare = write_npz(folder / "test.npz", {"y": test.labels, **{f"x_{n}": v for n, v in test.inputs.items()}})
        write_references(subject, bare, samples)
        bare.unlink()
    return Baseline(imported, subject, samples, memory.judged(subject, samples).accuracy)
