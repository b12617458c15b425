from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from muster_compression.orders import FailedVariant
from muster_compression.page.build import page_of
from muster_compression.page.markup import escaped
from muster_compression.search.point import Judged, Verdict

_VOID = frozenset(("meta", "line", "circle", "polygon", "path", "rect", "br"))


class Reader(HTMLParser):
    """Every element is closed in order; collects what could load or run something."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []

    def handle_startendtag(self, tag, attributes):
        assert tag in _VOID
        self._look(tag, attributes)

    def handle_starttag(self, tag, attributes):
        assert tag not in _VOID, f"{tag} is not closed"
        self.open.append(tag)
        self._look(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    def _look(self, tag, attributes):
        self.names.append(tag)
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.loads += [name for name in names if name in ("src", "href", "xlink:href", "srcset") or name[:2] == "on"]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_complete(run):
    reader = read(page_of(run))
    text = " ".join(reader.texts)
    for title in ("Lineage", "Frontier", "Variants", "Dropped and failed", "Passes", "Controls", "Sensitivities"):
        assert reader.texts.count(title) == 1, title
    for title in ("Search", "Recipe", "Environment", "Notes"):
        assert title in reader.texts
    for words in ("97.00 % (95.0–98.5), n = 350", "AMD EPYC", "2.13.0", "0.5 (cached)", "12.2", "operator <script>"):
        assert words in text
    assert reader.names.count("svg") == 3


def test_the_page_loads_nothing_and_runs_nothing(run):
    page = page_of(run)
    reader = read(page)
    assert reader.loads == []
    assert not set(reader.names) & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for forbidden in ("http://", "https://", "url(", "@import", "<script"):
        assert forbidden not in page.lower()
    assert "default-src &#x27;none&#x27;" in page


def test_what_users_wrote_is_text_wherever_it_stands(run, evil):
    page = page_of(run)
    assert evil not in page
    assert page.count(str(escaped(evil))) >= 8
    read(page)


def test_control_characters_do_not_reach_the_page(run):
    page = page_of(replace(run, notes=("a\x00b\x1b[31mc\ud800d",)))
    page.encode()
    assert "ab[31mcd" in page


def test_children_stand_below_their_parents(run):
    page = page_of(run)
    tree = page[page.index('<ul class="tree">') : page.index("</section>", page.index('<ul class="tree">'))]
    root = ElementTree.fromstring(tree)
    names = {item.find("b").text: [child.find("b").text for child in item.findall("ul/li")] for item in root.iter("li")}
    assert names["fp32"] == ["pruned", "slow", "lite", "bad"]
    assert names["pruned"] == ["pruned-int8"]


def test_the_control_of_a_pass_is_told_with_its_difference(run):
    reader = read(page_of(run))
    cells = reader.texts
    start = cells.index("with the pass")
    assert {"96.00 % (93.0–98.0)", "97.50 %", "-0.0150", "200"} <= set(cells[start : start + 20])


def test_long_figures_are_folded_and_short_ones_stand_in_a_line(run):
    row = run.variants[0]
    step = replace(row.steps[1], figures={"heads_before": 8, "heads_after": 4, "layers": "stem 16>8; " * 20})
    page = page_of(replace(run, variants=(replace(row, steps=(step,)),)))
    assert "<td>heads before 8, heads after 4<details><summary>layers</summary>stem 16&gt;8" in page
    read(page)


def test_points_of_each_kind_are_drawn(run):
    page = page_of(run)
    size, latency = page.split("<figure>")[1:3]
    assert size.count('class="baseline"') == 1
    assert size.count('class="kept"') == 3  # pruned, pruned-int8 and, alone in its format, lite
    assert size.count('class="behind"') == 1
    assert size.count('class="dropped"') == 2  # a circle and its cross
    assert size.count("<polygon") == 1
    assert latency.count("<polygon") == 0  # its latency is not known
    assert size.count('class="whisker"') == 3 * 6


def test_the_floor_and_the_frontier_are_not_mixed_up(run, evil):
    first, failed = run.search.verdicts
    missed = replace(first.point, number=3, under_floor="accuracy 10 % is under the floor of 90 %")
    behind = replace(first.point, number=4)
    judged = Judged("accuracy", 0.875, (0.8, 0.92), 0.9)
    verdicts = (
        replace(first, judged=judged),
        failed,
        Verdict(missed, False, f"under the floor: {missed.under_floor}"),
        Verdict(behind, False, "dominated by small-1: 1 against 2 ms"),
    )
    search = replace(run.search, verdicts=verdicts, ranked_on="350 held-out samples", is_ranked_apart=True)
    page = page_of(replace(run, search=search))
    text = " ".join(read(page).texts)
    assert "4 variants kept, 1 under the floor, 1 failed." in text
    assert "Of 4 points 1 were on the frontier, 1 behind or equal to another, 1 under the floor; 1 failed." in text
    assert "Points were ranked on 350 held-out samples." in text
    assert "87.50 % (80.0–92.0)" in text  # beside 90.00 %, by which it was chosen
    assert "dropped:" not in page
    assert "; behind pruned" in page
    assert str(escaped(f"; accuracy 50 % is under the floor {evil}")) in page


@pytest.mark.parametrize(
    "change",
    [
        {"variants": (), "failed": (), "notes": (), "search": None},
        {"notes": ()},
        {"search": None},
    ],
)
def test_a_poor_run_has_a_page_too(run, change):
    read(page_of(replace(run, **change)))


def test_without_labels_agreement_is_plotted(run, row):
    changes = {"accuracy": None, "accuracy_ci": (None, None), "accuracy_reason": "no labels"}
    poor = replace(run, baseline=replace(run.baseline, **changes), variants=(row("a", **changes),), search=None)
    text = " ".join(read(page_of(poor)).texts)
    assert "agreement over size" in text
    assert "no labels" in text


def test_the_header_counts_a_torch_form_under_the_floor_and_what_starts_from_it(run):
    step = replace(run.variants[0].steps[0], reason="accuracy 91.25% is under the floor of 91.44% (0.95rel)")
    failed = (
        FailedVariant("heads", f"dropped after prune-structured: {step.reason}", (step,)),
        *(FailedVariant(name, "its parent heads was dropped", is_parent_missing=True) for name in ("int8", "lite")),
    )
    page = page_of(replace(run, variants=run.variants[:2], failed=failed, search=None))
    assert "2 variants kept, 1 under the floor, 2 start from one of those, 0 failed." in page


def test_the_title_has_the_recipes_own_name(run):
    assert "<title>m:1: mine</title>" in page_of(run)
    nameless = replace(run.asked, recipe_yaml="[]")
    assert "<title>m:1: mine.yaml</title>" in page_of(replace(run, asked=nameless))
