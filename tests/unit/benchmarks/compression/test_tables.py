from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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
    assert "missed: 12.0x faster instead of 15x" in markdown(report)


def test_a_goal_that_only_a_dropped_variant_comes_near_says_that_it_was_dropped(report, row):
    dropped = replace(row, is_kept=False, reason="under the floor", latency_ratio=20.0)
    text = markdown(replace(report, runs=(replace(report.runs[0], rows=(dropped,)),)))
    assert "int8 (onnx), dropped" in text
    assert "no: under the floor" in text


def test_every_line_of_a_table_has_as_many_cells_as_its_head(report):
    tables = [block for block in markdown(report).split("\n\n") if block.startswith("|")]
    assert len(tables) >= 4
    for table in tables:
        counts = {line.count("|") for line in table.splitlines()}
        assert len(counts) == 1, table


def test_figures_of_a_busy_machine_are_marked(report, row):
    busy = replace(report, is_quiet=False, runs=(replace(report.runs[0], rows=(replace(row, cpu_pressure=40.0),)),))
    assert "0.020 ms noisy" in markdown(busy)
    assert "noisy" not in markdown(report).split("## Goals")[1]


def test_the_page_of_a_part_has_no_figures(report):
    assert "has not run yet" in document(None)
    assert document(replace(report, is_whole=False)) == document(None)
    assert "12.0x" in document(report)


def test_the_page_in_the_repository_was_written_by_the_benchmark():
    page = (Path(__file__).parents[4] / "docs" / "compression-results.md").read_text()
    head = document(None).split("\n\n")[:2]
    assert page.split("\n\n")[:2] == [part.rstrip("\n") for part in head]


def test_the_standard_librarys_compression_is_not_hidden_from_other_benchmarks():
    folder = Path(__file__).parents[4] / "benchmarks" / "compression"
    assert folder.is_dir()
    assert not (folder / "__init__.py").exists()
