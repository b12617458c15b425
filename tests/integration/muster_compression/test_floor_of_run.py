"""``muster-compress run --floor``: 8 when something was dropped, 2 for a floor that nothing reaches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from muster_compression.cli import main


@pytest.mark.parametrize(("floor", "status"), [("1", 8), ("-1", 0), ("1.5", 2)])
def test_the_exit_code_tells_what_the_floor_did(floor, status, model_path, data_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    with np.load(data_path) as found:
        # wrong labels: nothing comes near 100 %
        arrays = {name: np.roll(values, 1) if name.startswith("y") else values for name, values in found.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    options = ["--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "out"), "--no-latency", "-o", "json"]
    assert main(["run", "--model", str(model_path), "--floor", floor, *options]) == status
    said = capsys.readouterr()
    if status == 2:
        assert "at most 1 for accuracy" in said.err
    else:
        rows = json.loads(said.out)["variants"]
        assert {row["kept"] for row in rows} == {status == 0}
        assert all((Path(row["path"]).parent.name == "dropped") is (status == 8) for row in rows)
        assert all(Path(row["path"]).is_file() for row in rows)
