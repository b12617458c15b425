"""Teachers, trained once by the product's own loop: killed in the middle, they go on where the last epoch ended."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.compression import nets
from benchmarks.compression.making import THREADS
from benchmarks.compression.tasks import Task
from muster_compression.artifact import write_bytes
from muster_compression.dataset.fit import fit_samples
from muster_compression.dataset.npz import load_npz
from muster_compression.passes.port import PassContext
from muster_compression.training.fit import fit
from muster_compression.training.score import score
from muster_compression.training.settings import FitSettings
from muster_protos.model import Signature, TensorSpec

_SOURCE = '''"""A trained teacher as a user hands one in: architecture beside it, weights without pickled code."""

from pathlib import Path

import torch
from nets import {network}


def make():
    module = {network}()
    module.load_state_dict(torch.load(Path(__file__).with_name("weights.pt"), weights_only=True))
    return module.eval()


def make_untrained():
    return {network}()
'''


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained teacher on disk; ``source`` is what the product is given."""

    source: str
    params: int
    accuracy: float  # on the validation samples
    epochs: int
    wall_s: float
    images_per_s: float


def trained(
    task: Task, data: Path, folder: Path, fit_settings: FitSettings, on_progress: Callable[[float, str], None]
) -> Teacher:
    """The teacher of ``task`` in ``folder``, trained when it is not there for this data, budget and architecture."""
    key = _key(task, data, fit_settings)
    facts = folder / "teacher.json"
    if facts.is_file() and (known := json.loads(facts.read_text()))["key"] == key:
        return Teacher(**known["teacher"])
    samples = load_npz(data)
    assert samples.train is not None
    assert samples.validation is not None
    signature = _signature(np.asarray(next(iter(samples.train.inputs.values()))))
    training, held = (fit_samples(part, signature, data.name) for part in (samples.train, samples.validation))
    torch.manual_seed(task.seed)
    module: torch.nn.Module = getattr(nets, task.network)()
    folder.mkdir(parents=True, exist_ok=True)
    context = PassContext(
        folder=folder,
        signature=signature,
        calibration={},
        seed=task.seed,
        on_progress=on_progress,
        training=training,
        checkpoints=folder,
        threads=THREADS,
    )
    record = fit(module, training, fit_settings, context, name="teacher")
    teacher = Teacher(
        source=f"{folder / 'net.py'}:make",
        params=sum(parameter.numel() for parameter in module.parameters()),
        accuracy=score(module, held, signature),
        epochs=record.epochs,
        wall_s=record.wall_s,
        images_per_s=record.epochs * len(training) / record.wall_s,
    )
    _write(task, folder, module)
    write_bytes(facts, json.dumps({"key": key, "teacher": asdict(teacher)}).encode())
    (folder / "teacher.pt").unlink(missing_ok=True)
    return teacher


def _write(task: Task, folder: Path, module: torch.nn.Module) -> None:
    shutil.copyfile(nets.__file__, folder / "nets.py")
    weights = io.BytesIO()
    torch.save(module.state_dict(), weights)
    write_bytes(folder / "weights.pt", weights.getvalue())
    write_bytes(folder / "net.py", _SOURCE.format(network=task.network).encode())


def _key(task: Task, data: Path, fit_settings: FitSettings) -> str:
    parts = [
        task.network,
        str(task.seed),
        fit_settings.model_dump_json(exclude={"augment_misfit"}),  # it changes nothing for pictures
        data.name,  # says of which code and file it was made
        Path(nets.__file__).read_text(encoding="utf-8"),
        torch.__version__,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _signature(inputs: np.ndarray) -> Signature:
    return Signature(
        inputs=(TensorSpec("x", "float32", (1, *inputs.shape[1:])),),
        outputs=(TensorSpec("output", "float32", (1, 10)),),
        layout="NCHW",
        task="classification",
        metric="accuracy",
    )
