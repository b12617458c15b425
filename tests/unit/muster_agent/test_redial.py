from hypothesis import given
from hypothesis import strategies as st

from muster_agent.redial import Redial


def test_ceiling_grows_by_a_quarter_up_to_the_cap() -> None:
    redial = Redial(1.0, 2.0, lambda: 1.0)
    assert [redial.next_s() for _ in range(6)] == [1.0, 1.25, 1.25**2, 1.25**3, 2.0, 2.0]


def test_ceiling_stays_below_the_time_away_plus_the_base() -> None:
    """Whoever comes back after an outage is not waited for longer than the outage lasted."""
    redial, away_s = Redial(1.0, 60.0, lambda: 0.5), 0.0
    for _ in range(40):
        delay_s = redial.next_s()
        assert 2 * delay_s <= away_s + 1.0
        away_s += delay_s


def test_jitter_is_full_from_nothing_to_the_ceiling() -> None:
    draws = iter([0.0, 0.5, 0.25])
    redial = Redial(1.0, 10.0, lambda: next(draws))
    assert [redial.next_s() for _ in range(3)] == [0.0, 0.625, 0.390625]


def test_success_starts_over() -> None:
    redial = Redial(1.0, 10.0, lambda: 1.0)
    redial.next_s()
    redial.next_s()
    redial.reset()
    assert redial.next_s() == 1.0


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 5000), st.floats(0, 100))
def test_delay_honours_retry_after_and_never_exceeds_the_cap(draw: float, failures: int, retry_after_s: float) -> None:
    redial = Redial(0.5, 60.0, lambda: draw)
    for _ in range(min(failures, 50)):
        redial.next_s()
    assert retry_after_s <= redial.next_s(retry_after_s) <= retry_after_s + 60.0
