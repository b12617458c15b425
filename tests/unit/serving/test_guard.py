"""The guard's rule, on a manual clock."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.core.guard import Guard, GuardSettings, Move
from muster_protos.model import Configuration, Rung, ServingGrant, Slo

MS = 1_000_000
S = 1_000_000_000


def grant_of(*p50_ms: float, slo_ms: float = 50, pinned: str = "") -> ServingGrant:
    rungs = tuple(
        Rung(Configuration(f"rung{index}", "onnxruntime", "cpu", 1), round(p50 * MS), round(p50 * 1.1 * MS))
        for index, p50 in enumerate(p50_ms)
    )
    return ServingGrant("d1", rungs, Slo(round(slo_ms * MS), 95.0), pinned_variant_id=pinned)


def one_request(guard: Guard, now_ns: int, waited_ms: float = 0, behind_ms: tuple[float, ...] = ()) -> Move | None:
    """A request decides and is served in its idle time."""
    verdict = guard.decide(now_ns, now_ns - round(waited_ms * MS), [now_ns - round(ms * MS) for ms in behind_ms])
    if verdict.rung is not None:
        guard.served(verdict.rung, round(guard._rungs[verdict.rung].idle_ns), now_ns)
    return verdict.move


def quiet(guard: Guard, start_s: float, seconds: float, rate_hz: float = 5) -> list[Move]:
    """A calm stream; the moves it made."""
    moves = []
    for index in range(round(seconds * rate_hz)):
        now_ns = round((start_s + index / rate_hz) * S)
        guard.arrived(now_ns)
        moves.append(one_request(guard, now_ns))
    return [move for move in moves if move is not None]


def test_a_calm_stream_stays_on_the_best_rung() -> None:
    guard = Guard(grant_of(20, 5))
    assert quiet(guard, 1, 20) == []
    assert guard.active == 0


def test_a_stream_under_a_cpu_quota_is_judged_by_the_mean_not_by_the_median() -> None:
    """Most inferences at full speed, some throttled: the median says 20 % busy, the mean says too much."""
    quota = Rung(Configuration("big", "onnxruntime", "cpu", 1), 1 * MS, 16 * MS, mean_ns=5 * MS)
    cheap = Rung(Configuration("small", "onnxruntime", "cpu", 1), MS // 10, 4 * MS, mean_ns=MS // 2)
    guard = Guard(ServingGrant("d1", (quota, cheap), Slo(100 * MS, 95.0)))
    moves = quiet(guard, 1, 2, rate_hz=200)
    assert [move.direction for move in moves] == ["down"]
    assert "requests/s would keep big" in moves[0].reason
    assert quiet(guard, 3, 10, rate_hz=200) == []
    assert [move.direction for move in quiet(guard, 13, 6, rate_hz=20)] == ["up"]


def test_reading_and_writing_count_where_they_take_cpu_from_the_inferences() -> None:
    """50 requests of 10 ms keep the inference thread half busy; 12 ms beside each is too much on one core only."""
    for cores, direction in ((1.0, ["down"]), (2.0, []), (0.5, ["down"])):
        guard = Guard(grant_of(10, 1, slo_ms=100))
        guard.spent_cpu(12.0 * MS, cores)
        assert [move.direction for move in quiet(guard, 1, 3, rate_hz=50)] == direction, cores


def test_those_who_wait_are_saved_earlier_where_writing_their_answers_takes_the_cpu() -> None:
    """Twelve behind: 1 ms each on the cheap rung, but 6 ms with reading and writing on a quarter of a core."""
    moves = []
    for beside_ms in (0.0, 1.25):
        guard = Guard(grant_of(10, 1, slo_ms=100))
        quiet(guard, 1, 2)
        guard.spent_cpu(beside_ms * MS, 0.25)
        moves.append(one_request(guard, 4 * S, waited_ms=21, behind_ms=(20,) * 12))
    assert moves[0] is None
    assert moves[1] is not None
    assert "12 wait" in moves[1].reason


def test_costs_that_make_no_sense_are_ignored() -> None:
    guard = Guard(grant_of(10, 1))
    for beside_ns, cores in ((float("nan"), 1.0), (-1.0, 1.0), (float("inf"), 1.0), (1.0, 0.0)):
        guard.spent_cpu(beside_ns, cores)
        assert guard.cpu.busy_ns(10.0) == 10.0


def test_a_mean_that_one_hiccup_spoiled_counts_at_most_as_the_p95() -> None:
    spoiled = Rung(Configuration("big", "onnxruntime", "cpu", 1), 1 * MS, 2 * MS, mean_ns=50 * MS)
    guard = Guard(ServingGrant("d1", (spoiled,), Slo(100 * MS, 95.0)))
    assert guard._rungs[0].idle_ns == 2 * MS


def test_two_who_wait_and_a_shrinking_slack_move_it_down_at_once() -> None:
    guard = Guard(grant_of(20, 5))
    quiet(guard, 1, 2)
    move = one_request(guard, 4 * S, waited_ms=20, behind_ms=(18, 17, 16))
    assert move is not None
    assert (move.direction, move.from_index, move.to_index) == ("down", 0, 1)
    assert "3 wait" in move.reason


def test_a_late_request_takes_a_cheaper_rung_with_figures_in_the_reason() -> None:
    guard = Guard(grant_of(20, 5))
    move = one_request(guard, 4 * S, waited_ms=35)
    assert move is not None
    assert guard.active == 1
    assert "on rung0" in move.reason
    assert "of 50.0 ms left" in move.reason


def test_a_rate_over_the_backlog_limit_moves_it_down_though_nobody_waits() -> None:
    guard = Guard(grant_of(20, 5))
    moves = quiet(guard, 1, 3, rate_hz=25)
    assert [move.direction for move in moves] == ["down"]
    assert "requests/s would keep rung0" in moves[0].reason


def test_it_skips_a_rung_that_would_not_help() -> None:
    guard = Guard(grant_of(20, 18, 5))
    one_request(guard, 4 * S, waited_ms=28)
    assert guard.active == 2


def test_up_only_after_the_dwell() -> None:
    guard = Guard(grant_of(20, 5))
    quiet(guard, 1, 3, rate_hz=25)
    moves = quiet(guard, 6, 1.8)
    assert moves == []
    moves = quiet(guard, 7.8, 2)
    assert [move.direction for move in moves] == ["up"]
    assert "has fitted for 2 s" in moves[0].reason


def test_up_also_when_nobody_asks_anything() -> None:
    guard = Guard(grant_of(20, 5))
    quiet(guard, 1, 3, rate_hz=25)
    moves = [move for second in range(5, 12) if (move := guard.tick(second * S)) is not None]
    assert [move.direction for move in moves] == ["up"]


def test_a_climb_that_does_not_last_doubles_the_dwell() -> None:
    guard = Guard(grant_of(20, 5))
    waits, start_s = [], 1.0
    for _ in range(3):
        quiet(guard, start_s, 3, rate_hz=25)
        assert guard.active == 1
        calm_s = start_s + 5
        for tenth in itertools.count():
            if quiet(guard, calm_s + tenth / 10, 0.1, rate_hz=10):
                break
        waits.append(tenth / 10)
        start_s = calm_s + tenth / 10 + 0.1
    assert waits[0] < waits[1] < waits[2]
    assert waits[2] == pytest.approx(8, abs=1)


def test_what_cannot_be_in_time_is_refused() -> None:
    guard = Guard(grant_of(20, 5))
    one_request(guard, S)
    assert guard.decide(S + 100 * MS, S + 51 * MS, ()).rung is None


def test_while_refusing_a_probe_is_served_every_half_second() -> None:
    guard = Guard(grant_of(20, 5))
    one_request(guard, S)
    served_at = [
        at_ms
        for at_ms in range(10, 3000, 10)
        if guard.decide(S + at_ms * MS, S + (at_ms - 60) * MS, ()).rung is not None
    ]
    assert served_at == [500, 1000, 1500, 2000, 2500]


def test_a_probe_says_that_it_is_one() -> None:
    guard = Guard(grant_of(20, 5))
    verdict = guard.decide(S, S - 60 * MS, ())
    assert verdict.is_probe
    assert verdict.rung == 1


def test_without_an_objective_nothing_is_refused_and_the_best_rung_stays() -> None:
    guard = Guard(grant_of(20, 5, slo_ms=0))
    assert guard.decide(90 * S, S, [2 * S] * 50).rung == 0


def test_a_pin_stays_whatever_happens() -> None:
    guard = Guard(grant_of(20, 10, 5, pinned="rung1"))
    assert quiet(guard, 1, 3, rate_hz=60) == []
    assert guard.active == 1


def test_unpinned_the_rule_decides_again() -> None:
    guard = Guard(grant_of(20, 10, 5, pinned="rung2"))
    guard.pin("")
    moves = quiet(guard, 1, 6)
    assert [move.to_index for move in moves] == [0]


def test_a_cap_is_obeyed_at_once_and_named() -> None:
    guard = Guard(grant_of(20, 10, 5))
    guard.cap(1, "battery at 15 %")
    move = guard.tick(S)
    assert move is not None
    assert (move.to_index, move.direction) == (1, "down")
    assert move.reason == "capped at rung 1: battery at 15 %"
    assert quiet(guard, 2, 30) == []


def test_a_lifted_cap_lets_it_climb() -> None:
    guard = Guard(grant_of(20, 10, 5))
    guard.cap(2, "hot")
    guard.tick(S)
    guard.cap(0, "")
    assert [move.to_index for move in quiet(guard, 2, 10)] == [0]


def test_only_resident_rungs_answer_and_the_missing_one_is_wanted() -> None:
    guard = Guard(grant_of(20, 10, 5))
    guard.resident({2})
    guard.tick(S)
    assert guard.active == 2
    quiet(guard, 2, 5)
    assert guard.wanted == 0
    guard.resident({0, 2})
    assert [move.to_index for move in quiet(guard, 7, 5)] == [0]


def test_a_lost_rung_is_never_wanted_again() -> None:
    guard = Guard(grant_of(20, 5))
    guard.resident({1})
    guard.lost(0)
    guard.tick(S)
    quiet(guard, 2, 30)
    assert (guard.active, guard.wanted) == (1, 1)


def test_the_fail_safe_is_the_fastest_resident_rung() -> None:
    guard = Guard(grant_of(20, 10, 5))
    guard.resident({0, 1})
    assert guard.fail_safe() == 1


def test_a_cheap_rung_that_looks_slow_for_its_own_reasons_is_left_by_a_trial() -> None:
    guard = Guard(grant_of(25, 1))
    quiet(guard, 1, 3, rate_hz=30)
    assert guard.active == 1
    climbed_at = None
    for index in range(200):
        now_ns = 6 * S + index * S // 5
        guard.arrived(now_ns)
        verdict = guard.decide(now_ns, now_ns, ())
        if verdict.rung == 0:
            climbed_at = index / 5
            break
        guard.served(1, round(1.7 * MS), now_ns)  # 0.7 ms that do not scale with the model
    assert climbed_at is not None
    assert climbed_at < 15


def test_a_ladder_without_rungs_or_latency_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rung"):
        Guard(ServingGrant())
    with pytest.raises(ValueError, match="measured p50 of rung0"):
        Guard(grant_of(0))


@settings(max_examples=150, deadline=None)
@given(
    p50s=st.lists(st.floats(0.1, 200), min_size=1, max_size=5),
    slo_ms=st.floats(0, 500),
    steps=st.lists(
        st.tuples(
            st.integers(0, 2 * S),  # time passed
            st.integers(0, 2 * S),  # waited
            st.lists(st.integers(0, S), max_size=8),  # those behind
            st.floats(0, 1e12),  # service time
            st.one_of(st.none(), st.integers(-1, 6)),  # a cap
            st.one_of(st.none(), st.sets(st.integers(0, 4), max_size=5)),  # resident rungs
        ),
        max_size=40,
    ),
)
def test_it_always_names_a_rung_of_the_ladder_and_reports_every_move(
    p50s: list[float], slo_ms: float, steps: list[tuple[int, int, list[int], float, int | None, set[int] | None]]
) -> None:
    guard, now_ns = Guard(grant_of(*sorted(p50s, reverse=True), slo_ms=slo_ms)), S
    for passed_ns, waited_ns, behind, service_ns, cap, resident in steps:
        now_ns += passed_ns
        if cap is not None:
            guard.cap(cap, "a cap")
        if resident is not None and resident & set(range(len(p50s))):
            guard.resident(resident & set(range(len(p50s))))
        guard.arrived(now_ns)
        before = guard.active
        verdict = guard.decide(now_ns, now_ns - waited_ns, sorted(now_ns - ns for ns in behind))
        assert guard.active in range(len(p50s))
        assert verdict.rung in (None, guard.active)
        assert (verdict.move is not None) == (guard.active != before)
        if verdict.move is not None:
            assert (verdict.move.from_index, verdict.move.to_index) == (before, guard.active)
            assert verdict.move.reason
        if verdict.rung is not None:
            guard.served(verdict.rung, round(service_ns), now_ns)


def test_settings_are_in_use() -> None:
    guard = Guard(grant_of(20, 5), replace(GuardSettings(), dwell_ns=10 * S))
    quiet(guard, 1, 3, rate_hz=25)
    assert quiet(guard, 6, 9) == []
