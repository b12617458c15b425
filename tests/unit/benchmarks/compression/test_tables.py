from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from benchmarks.compression.rows import Report, Row, SideRow, TemplateRun
from benchmarks.compression.tables import document, markdown


@pytest.fixture
def report(row: Row) -> Report:
    return Report(
        machine="a machine",
        seed=0,
        is_whole=True,
        is_quiet=True,
        teachers=(),
        runs=(TemplateRun("mnist", "tiny", (row,), ("other: no room",), 120.0, 3.0),),
        sides=(SideRow("mnist", "static int8", "muster", 0.98, 0.97, 0.99, 0.99, 40_000, 0.1, 2.0),),
    )


def test_a_missed_goal_is_told_with_the_distance(report):
    assert "missed: 12.00x faster instead of 15x" in markdown(report)


def test_a_variant_that_the_gate_dropped_meets_no_goal_in_silence(report, row):
    dropped = replace(row, is_kept=False, reason="under the floor", latency_ratio=20.0)
    text = markdown(replace(report, runs=(replace(report.runs[0], rows=(dropped,)),)))
    assert "; dropped by the gate |" in text
    assert "no: under the floor" in text


def test_each_named_variant_is_judged_for_itself_and_one_that_is_not_there_is_missed(report, row):
    other = replace(row, variant="tiny-weights8", latency_ratio=16.0, share_low=0.9901)
    text = markdown(replace(report, runs=(replace(report.runs[0], rows=(row, other)),)))
    verdicts = {
        line.split("|")[4].strip(): line for line in text.split("## Teachers")[0].splitlines() if "| tiny" in line
    }
    assert "missed: 12.00x faster" in verdicts["tiny-int8 (onnx)"]
    assert verdicts["tiny-weights8 (onnx)"].endswith("| met |")
    assert "it did not come out" in verdicts["tiny-lite-int8 (tflite)"]


def test_every_line_of_a_table_has_as_many_cells_as_its_head(report):
    tables = [block for block in markdown(report).split("\n\n") if block.startswith("|")]
    assert len(tables) >= 4
    for table in tables:
        counts = {line.count("|") for line in table.splitlines()}
        assert len(counts) == 1, table


def test_figures_of_a_busy_machine_are_marked(report, row):
    busy = replace(report, is_quiet=False, runs=(replace(report.runs[0], rows=(replace(row, is_noisy=True),)),))
    assert "0.020 ms noisy" in markdown(busy)
    assert "noisy" not in markdown(report).split("## Goals")[1]


def test_the_page_of_a_part_has_no_figures(report):
    assert "has not run yet" in document(None)
    assert document(replace(report, is_whole=False)) == document(None)
    assert "12.0x" in document(report)


def test_the_page_in_the_repository_shows_the_figures_that_lie_beside_the_benchmark():
    root = Path(__file__).parents[4]
    figures = root / "benchmarks" / "compression" / "results.json"
    report = TypeAdapter(Report).validate_json(figures.read_bytes()) if figures.is_file() else None
    assert (root / "docs" / "compression-results.md").read_text() == document(report)


def test_the_standard_librarys_compression_is_not_hidden_from_other_benchmarks():
    folder = Path(__file__).parents[4] / "benchmarks" / "compression"
    assert folder.is_dir()
    assert not (folder / "__init__.py").exists()


def test_a_goal_that_is_missed_by_speed_says_where_the_speed_is_lost(report, row):
    float_row = replace(row, variant="tiny", parent="student", latency_ratio=13.0)
    text = markdown(replace(report, runs=(replace(report.runs[0], rows=(float_row, row)),)))
    assert "40.0x fewer multiplications, of which tiny (onnx, float) makes 13.0x" in text
    fast = markdown(
        replace(report, runs=(replace(report.runs[0], rows=(float_row, replace(row, latency_ratio=15.1))),))
    )
    assert "fewer multiplications" not in fast
