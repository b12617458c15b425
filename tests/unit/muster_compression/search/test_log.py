import pytest

from muster_compression.search.budget import parse_budget
from muster_compression.search.log import LOG_FILE, SearchLog
from muster_compression.search.point import Point
from muster_protos.errors import ConflictError, InvalidInputError

POINTS = [
    Point(1, "small", {"a.b": 0.5, "c": "x", "d": True, "e": None, "f": 3}, "onnx", "0" * 64, 10, "accuracy", 0.9),
    Point(2, "small", {"a.b": 0.7}, failed="operator Foo\nis odd"),
]


def kept(folder, *points):
    with SearchLog.open(folder, "this") as log:
        for point in points:
            log.append(point)
        return log.points


def test_points_are_read_back_as_they_were(tmp_path):
    kept(tmp_path, *POINTS)
    assert kept(tmp_path) == POINTS
    assert type(kept(tmp_path)[0].values["d"]) is bool


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_does_not_count_and_the_log_goes_on(tmp_path, cut):
    kept(tmp_path, *POINTS)
    path = tmp_path / LOG_FILE
    path.write_bytes(path.read_bytes()[:-cut])
    assert kept(tmp_path, POINTS[1]) == POINTS
    assert kept(tmp_path) == POINTS


def test_a_first_line_that_was_cut_off_begins_anew(tmp_path):
    (tmp_path / LOG_FILE).write_bytes(b'{"sea')
    kept(tmp_path, POINTS[0])
    assert kept(tmp_path) == POINTS[:1]


def test_another_search_is_not_mixed_in(tmp_path):
    kept(tmp_path, POINTS[0])
    with pytest.raises(InvalidInputError, match=r"holds a search with another model.*search\.jsonl"):
        SearchLog.open(tmp_path, "that")
    assert kept(tmp_path) == POINTS[:1]


def test_a_folder_holds_one_search_at_a_time(tmp_path):
    with SearchLog.open(tmp_path, "this"), pytest.raises(ConflictError, match="another search works in"):
        SearchLog.open(tmp_path, "this")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("content", ["[]\n", "{}\n", '{"search": "this"}\n{"number": "x"}\n', "\x00\n"])
def test_what_is_no_log_is_refused(tmp_path, content):
    (tmp_path / LOG_FILE).write_text(content)
    with pytest.raises(InvalidInputError, match="expected the log of a search"):
        SearchLog.open(tmp_path, "this")


@pytest.mark.parametrize(
    ("text", "points", "seconds"), [("20", 20, None), ("90s", None, 90), ("30m", None, 1800), ("1.5h", None, 5400)]
)
def test_a_budget_is_points_or_time(text, points, seconds):
    found = parse_budget(text)
    assert (found.points, found.seconds) == (points, seconds)


@pytest.mark.parametrize("text", ["", "0", "0m", "-3", "1.5", "many", "20 points", "99999"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(InvalidInputError, match="expected a budget of points"):
        parse_budget(text)


def test_the_share_of_a_budget_grows_to_one():
    assert [parse_budget("4").share(done, 0) for done in (0, 2, 4, 9)] == [0, 0.5, 1, 1]
    assert parse_budget("10s").share(1, 5) == 0.5
