from hypothesis import given, settings
from hypothesis import strategies as st

from muster_compression.frontier import Candidate, dominates, dominators, frontier, quality_of

figures = st.sampled_from([0.1, 0.2, 0.3, 0.4])
candidates = st.lists(
    st.builds(
        Candidate,
        st.just(""),
        st.sampled_from(["onnx", "tflite"]),
        st.none() | figures,
        st.none() | figures,
        st.integers(1, 4),
    ),
    max_size=12,
).map(lambda items: [Candidate(str(i), x.group, x.quality, x.latency_ms, x.size_bytes) for i, x in enumerate(items)])


@settings(deadline=None)
@given(candidates)
def test_nothing_on_the_frontier_is_dominated_and_everything_off_it_is_by_something_on_it(items):
    kept = frontier(items)
    keys = {item.key for item in kept}
    behind = dominators(items)
    assert set(behind) == {item.key for item in items} - keys
    by_key = {item.key: item for item in items}
    for key, by in behind.items():
        assert by in keys
        assert dominates(by_key[by], by_key[key])
        assert by_key[by].group == by_key[key].group


@settings(deadline=None)
@given(candidates, st.randoms())
def test_the_frontier_does_not_depend_on_the_order(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert {item.key for item in frontier(items)} == {item.key for item in frontier(shuffled)}


@settings(deadline=None)
@given(candidates)
def test_dominance_is_transitive(items):
    for a in items:
        for b in items:
            for c in items:
                if dominates(a, b) and dominates(b, c):
                    assert dominates(a, c)


def test_formats_do_not_compare_and_what_is_unknown_wins_nothing():
    fast = Candidate("a", "onnx", 0.9, 1.0, 10)
    assert not dominates(fast, Candidate("b", "tflite", 0.8, 2.0, 20))
    assert dominates(fast, Candidate("c", "onnx", 0.9, None, 10))
    assert not dominates(Candidate("d", "onnx", 0.95, None, 5), fast)


def test_quality_of_an_error_is_its_negative_and_without_labels_agreement_counts():
    assert quality_of("accuracy", 0.9, 0.8) == 0.9
    assert quality_of("mae", 0.9, 0.8) == -0.9
    assert quality_of("user:cost:min", 3.0, None) == -3.0
    assert quality_of("accuracy", None, 0.8) == 0.8
