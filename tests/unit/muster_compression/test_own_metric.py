import numpy as np
import pytest

from muster_bench.evaluate import Answers, figures
from muster_compression.floor import check_reachable, missed, parse_floor
from muster_compression.own_metric import check_metric_is_there, load_own_metric, measured
from muster_protos.errors import InvalidInputError, NotFoundError
from muster_protos.model import Signature, TensorSpec

CODE = """
import numpy as np

def hits(predictions, labels):
    assert predictions.shape == (len(labels), 2, 2)
    return (predictions.reshape(len(labels), -1).argmax(1) == labels).mean()

def misses(predictions, labels):
    return 1 - hits(predictions, labels)
misses.higher_is_better = False

def text(predictions, labels):
    return "good"

def nan(predictions, labels):
    return float("nan")

def fails(predictions, labels):
    return predictions @ labels

def all_classes(predictions, labels):
    if len(np.unique(labels)) < 4:
        raise ValueError("only some classes")
    return 0.5
"""
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (-1, 3)),),
    (TensorSpec("scores", "float32", (-1, 2, 2)),),
    task="classification",
    metric="user:hits",
)


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def answers():
    random = np.random.default_rng(2)
    labels = random.integers(0, 4, 100)
    outputs = np.eye(4)[np.where(random.random(100) < 0.8, labels, (labels + 1) % 4)].astype(np.float32)
    return Answers({"scores": outputs}, None, {"x": np.zeros((100, 3))}, labels)


def test_a_users_function_gets_shaped_predictions_and_gives_the_value_with_an_interval(code, answers):
    own = load_own_metric(f"{code}:hits")
    assert own.name == "user:hits"
    found = measured(own, figures(SIGNATURE, answers), answers, SIGNATURE)
    truth = (answers.outputs["scores"].argmax(1) == answers.labels).mean()
    assert (found.metric, found.value, found.unavailable_reason) == ("user:hits", truth, "")
    assert truth - 0.12 < found.ci_low < truth < found.ci_high < truth + 0.12
    assert measured(own, figures(SIGNATURE, answers), answers, SIGNATURE) == found


def test_without_the_function_the_value_is_missing_with_a_reason(answers):
    found = figures(SIGNATURE, answers)
    assert found.value is None
    assert "'user:hits' is not known here" in found.unavailable_reason
    with pytest.raises(InvalidInputError, match=r"expected that function too, as in --metric metrics\.py:hits"):
        check_metric_is_there(SIGNATURE, None)


def test_smaller_may_be_better_and_the_floor_turns_round(code, answers):
    own = load_own_metric(f"{code}:misses")
    assert own.name == "user:misses:min"
    found = measured(own, figures(SIGNATURE, answers), answers, SIGNATURE)
    floor = parse_floor("2")
    check_reachable(floor, found)
    assert missed(floor, found, found) == ""
    assert "is over" in missed(parse_floor("0.01"), found, found)


def test_a_metric_that_may_exceed_one_has_no_ceiling_but_a_share_of_it_has(code, answers):
    own = load_own_metric(f"{code}:hits")
    found = measured(own, figures(SIGNATURE, answers), answers, SIGNATURE)
    check_reachable(parse_floor("30"), found)
    with pytest.raises(InvalidInputError, match="at most 1 for user:hits"):
        check_reachable(parse_floor("1.5rel"), found)


def test_an_interval_that_cannot_be_had_is_none(code, answers):
    answers = Answers(answers.outputs, None, answers.inputs, np.array([0, 1, 2, 3] + [0] * 96))
    own = load_own_metric(f"{code}:all_classes")
    found = measured(own, figures(SIGNATURE, answers), answers, SIGNATURE)
    assert (found.value, found.ci_low, found.ci_high) == (0.5, None, None)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("text", r"mine\.py:text: expected a number, found str"),
        ("nan", r"mine\.py:nan: expected a finite number, found nan"),
        ("fails", r"mine\.py:fails failed: ValueError: matmul"),
    ],
)
def test_what_a_function_does_wrong_is_one_line(code, answers, function, words):
    own = load_own_metric(f"{code}:{function}")
    with pytest.raises(InvalidInputError, match=words) as caught:
        measured(own, figures(SIGNATURE, answers), answers, SIGNATURE)
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_there_is_named(code):
    with pytest.raises(NotFoundError, match=r"mine\.py has no function 'f1'; it has hits, misses"):
        load_own_metric(f"{code}:f1")
    assert load_own_metric("") is None
