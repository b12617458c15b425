import dataclasses
import json

import pytest

from muster_compression.report import as_json
from muster_compression.run_file import load_run, save_run
from muster_compression.tree import as_tree
from muster_protos.errors import InvalidInputError, NotFoundError

KEYS = {"name", "format", "path", "size_bytes", "latency_ms", "accuracy", "agreement", "size_ratio", "latency_ratio"}


def test_json_has_the_promised_keys_and_is_json(run):
    told = json.loads(json.dumps(as_json(run), allow_nan=False))
    assert set(told) == {"baseline", "variants", "failed", "notes", "search"}
    assert set(as_json(dataclasses.replace(run, search=None))) == set(told) - {"search"}
    for item in told["variants"]:
        assert KEYS | {"kept", "reason"} <= set(item)
    assert set(told["baseline"]) >= KEYS
    assert told["failed"][0]["name"] == "odd"


def test_the_tree_has_children_below_their_parents_and_reasons_below_all(run):
    lines = as_tree(run).splitlines()
    heads = [line.partition("accuracy")[0].rstrip() for line in lines]
    assert heads[:5] == ["m:1 fp32", " ├─ pruned", " │  └─ pruned-int8", " ├─ slow", " └─ lite"]
    assert lines[5].startswith("dropped: bad: accuracy 50 %")
    assert lines[6].startswith("failed: odd: operator")
    assert "accuracy 97.0% (95.0–98.5)" in lines[1]
    assert "2.00 ms here (2.0x)" in lines[1]
    narrow = as_tree(run, 80).splitlines()[1]
    assert "accuracy 97.0% " in narrow
    assert "(95.0" not in narrow


def test_the_tree_marks_the_frontier_of_each_format(run):
    lines = as_tree(run).splitlines()
    assert ["frontier" in line for line in lines[:5]] == [True, True, True, False, True]  # slow is behind the baseline


def test_a_latency_with_doubts_is_marked_and_the_doubts_stand_below(run, row):
    demo = "demo tier: 1 s, for demonstrations only"
    rows = (
        row("a", latency_ms=0.01301, latency_reason=f"cpu pressure 99.3 % > 5 %; {demo}"),
        row("b", latency_ms=0.5, latency_reason=f"cpu pressure 98.1 % > 5 %; {demo}"),
        row("c", latency_ms=123.4),
        row("d", latency_ms=None, latency_reason="no runtime"),
    )
    lines = as_tree(dataclasses.replace(run, variants=rows, failed=(), search=None)).splitlines()
    assert "0.0130 ms* here" in lines[1]
    assert "0.500 ms* here" in lines[2]
    assert "123 ms here" in lines[3]
    assert lines[5:] == [f"* latency with doubts: cpu pressure 99.3 % > 5 %; {demo}"]


def test_a_variant_whose_parent_is_not_in_the_run_stands_below_the_baseline(run, row):
    orphan = dataclasses.replace(run, variants=(row("orphan", "m.v1.elsewhere"),), failed=())
    assert as_tree(orphan).splitlines()[1].startswith(" └─ orphan")


def test_a_run_is_read_back_as_it_was_with_paths_inside_its_folder(run, tmp_path):
    save_run(tmp_path, run)
    found = load_run(tmp_path)
    assert found.variants[0].path == "m.v1.pruned.onnx"
    assert dataclasses.replace(found.variants[0], path="") == dataclasses.replace(run.variants[0], path="")
    assert (found.search, found.failed, found.asked) == (run.search, run.failed, run.asked)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (None, NotFoundError, "muster-compress run --out"),
        ("{", InvalidInputError, "found something else"),
        ("{}", InvalidInputError, "found something else"),
    ],
)
def test_what_is_no_run_is_refused(content, kind, words, tmp_path):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(kind, match=words):
        load_run(tmp_path)


def test_a_newer_schema_is_refused(run, tmp_path):
    save_run(tmp_path, dataclasses.replace(run, schema=2))
    with pytest.raises(InvalidInputError, match="expected schema 1, found 2"):
        load_run(tmp_path)
