from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.compression import child, sides
from benchmarks.compression.making import Bench
from muster_protos.errors import PermanentError


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("mnist", {}, tmp_path, tmp_path, memory=None, seed=0, share=1.0)  # type: ignore[arg-type]


def test_another_tool_that_hangs_is_a_way_that_failed(bench, monkeypatch, tmp_path):
    def hang(*arguments: object, **_: object) -> None:
        raise subprocess.TimeoutExpired("others", 1.0)

    monkeypatch.setattr(child.subprocess, "run", hang)
    (tmp_path / "model.onnx").write_bytes(b"model")
    request: sides.Chain = {"model": str(tmp_path / "model.onnx")}
    with pytest.raises(PermanentError, match="took longer than"):
        sides._other(bench, "onnxruntime", request)


def test_what_another_tool_made_is_kept_until_its_model_changes(bench, monkeypatch, tmp_path):
    calls: list[str] = []

    def work(*arguments: object, **_: object) -> subprocess.CompletedProcess[str]:
        calls.append("made")
        (tmp_path / "sides" / "onnxruntime.onnx").write_bytes(b"int8")
        return subprocess.CompletedProcess("others", 0)

    monkeypatch.setattr(child.subprocess, "run", work)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"model")
    for _ in range(2):
        sides._other(bench, "onnxruntime", {"model": str(model)})
    assert len(calls) == 1
    model.write_bytes(b"another")
    sides._other(bench, "onnxruntime", {"model": str(model)})
    assert len(calls) == 2
