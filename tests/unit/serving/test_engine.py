"""The engine with rungs that are no models: hot switch, failing rungs, bounded queue, a rule that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pytest

from muster_agent.core.guard import Guard, Verdict
from muster_agent.serving.engine import MAX_WAITING, Answer, Engine, Ladder
from muster_agent.serving.errors import InferenceError, RefusedError
from muster_agent.serving.loaded_rung import LoadedRung
from muster_protos.errors import MusterError
from muster_protos.model import Configuration, Event, LocalGrant, Rung, ServingGrant, Slo

MS = 1_000_000
FEEDS: Mapping[str, Any] = {"x": np.zeros(4, np.float32)}


class FakeRung:
    """Answers with its own name; can wait, and can fail."""

    def __init__(self, variant_id: str) -> None:
        self.variant_id = variant_id
        self.error: Exception | None = None
        self.may_run = threading.Event()
        self.may_run.set()
        self.is_running = threading.Event()
        self.is_closed = False

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        assert not self.is_closed
        self.is_running.set()
        assert self.may_run.wait(10)
        if self.error is not None:
            raise self.error
        return {"y": np.array([self.variant_id])}

    def close(self) -> None:
        self.is_closed = True


class Collected:
    """The answers and errors of submitted requests."""

    def __init__(self) -> None:
        self.results: list[Answer | MusterError] = []
        self._arrived = threading.Semaphore(0)

    def done(self, result: Answer | MusterError) -> None:
        self.results.append(result)
        self._arrived.release()

    def wait(self, count: int = 1) -> list[Answer | MusterError]:
        for _ in range(count):
            assert self._arrived.acquire(timeout=10)
        return self.results


def ladder(*rungs: FakeRung, slo_ms: float = 0, deployment_id: str = "d1") -> Ladder:
    steps = tuple(
        Rung(Configuration(rung.variant_id, "onnxruntime", "cpu", 1), (len(rungs) - i) * 10 * MS, 0)
        for i, rung in enumerate(rungs)
    )
    grant = ServingGrant(deployment_id, steps, Slo(round(slo_ms * MS), 95.0))
    loaded = {index: cast("LoadedRung", rung) for index, rung in enumerate(rungs)}
    return Ladder(LocalGrant(grant, "net"), Guard(grant), loaded)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def engine(events: list[Event]) -> Iterator[Engine]:
    running = Engine(events.append, lambda index: None)
    running.start()
    yield running
    running.stop()


def names(results: list[Answer | MusterError]) -> list[str]:
    return [result.variant_id if isinstance(result, Answer) else type(result).__name__ for result in results]


def now_ns() -> int:
    import time

    return time.monotonic_ns()


def test_nothing_is_served_before_the_first_grant(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="nothing is served yet"):
        engine.submit(FEEDS, now_ns(), Collected().done)


def test_a_replaced_ladder_finishes_what_runs_and_is_then_freed(engine: Engine) -> None:
    old, new, collected = FakeRung("old"), FakeRung("new"), Collected()
    engine.install(ladder(old))
    old.may_run.clear()
    engine.submit(FEEDS, now_ns(), collected.done)
    assert old.is_running.wait(10)
    engine.install(ladder(new, deployment_id="d2"))
    engine.submit(FEEDS, now_ns(), collected.done)
    assert not old.is_closed
    old.may_run.set()
    assert names(collected.wait(2)) == ["old", "new"]
    assert old.is_closed
    assert not new.is_closed


def test_a_rung_that_fails_is_left_and_the_request_is_answered_all_the_same(
    engine: Engine, events: list[Event]
) -> None:
    big, small, collected = FakeRung("big"), FakeRung("small"), Collected()
    big.error = InferenceError("out of memory")
    engine.install(ladder(big, small))
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["small"]
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["small", "small"]
    assert [(event.direction, event.to_variant_id, event.reason) for event in events] == [
        ("down", "small", "out of memory")
    ]


def test_the_only_rungs_failure_is_reported_and_the_next_request_served(engine: Engine) -> None:
    only, collected = FakeRung("only"), Collected()
    only.error = RuntimeError("the runtime threw something foreign")
    engine.install(ladder(only))
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["InferenceError"]
    only.error = None
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["InferenceError", "only"]
    assert engine.figures.status(now_ns(), "", (), 0, 1.0).failed == 1


def test_a_full_queue_refuses_at_once(engine: Engine) -> None:
    slow, collected = FakeRung("slow"), Collected()
    engine.install(ladder(slow))
    slow.may_run.clear()
    engine.submit(FEEDS, now_ns(), collected.done)
    assert slow.is_running.wait(10)
    for _ in range(MAX_WAITING):
        engine.submit(FEEDS, now_ns(), collected.done)
    with pytest.raises(RefusedError, match="512 requests wait already"):
        engine.submit(FEEDS, now_ns(), collected.done)
    slow.may_run.set()
    assert set(names(collected.wait(MAX_WAITING + 1))) == {"slow"}


def test_late_requests_are_refused_with_a_time_to_come_back(engine: Engine) -> None:
    rung, collected = FakeRung("rung"), Collected()
    engine.install(ladder(rung, slo_ms=50))
    engine.submit(FEEDS, now_ns(), collected.done)
    collected.wait()
    engine.submit(FEEDS, now_ns() - 100 * MS, collected.done)
    refused = collected.wait()[1]
    assert isinstance(refused, RefusedError)
    assert refused.retry_after_s == 1.0
    assert engine.figures.status(now_ns(), "", (), 0, 1.0).shed == 1


def test_a_rule_that_fails_still_answers_on_the_fastest_rung(
    engine: Engine, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    big, small, collected = FakeRung("big"), FakeRung("small"), Collected()
    broken = ladder(big, small)
    monkeypatch.setattr(broken.guard, "decide", lambda *arguments: 1 / 0)
    engine.install(broken)
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["small"]
    engine.submit(FEEDS, now_ns(), collected.done)
    collected.wait()
    assert [event.reason for event in events] == ["the rule failed: division by zero"]


def test_a_rule_that_fails_altogether_refuses_the_request_and_the_next_is_served(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung, collected = FakeRung("rung"), Collected()
    broken = ladder(rung)
    with monkeypatch.context() as patched:
        patched.setattr(broken.guard, "decide", lambda *arguments: 1 / 0)
        patched.setattr(broken.guard, "fail_safe", lambda: 1 / 0)
        engine.install(broken)
        engine.submit(FEEDS, now_ns(), collected.done)
        assert names(collected.wait()) == ["InferenceError"]
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["InferenceError", "rung"]


def test_a_rung_that_is_chosen_but_not_loaded_has_another_answer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    big, small, collected = FakeRung("big"), FakeRung("small"), Collected()
    partly = ladder(big, small)
    del partly.rungs[0]
    monkeypatch.setattr(partly.guard, "decide", lambda *arguments: Verdict(0, None))
    engine.install(partly)
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["small"]


def test_a_rung_that_is_freed_while_it_fails_leaves_no_request_behind(engine: Engine) -> None:
    big, small, collected = FakeRung("big"), FakeRung("small"), Collected()
    both = ladder(big, small)
    big.error = InferenceError("out of memory")
    big.may_run.clear()
    engine.install(both)
    engine.submit(FEEDS, now_ns(), collected.done)
    assert big.is_running.wait(10)
    del both.rungs[0]
    big.may_run.set()
    assert names(collected.wait()) == ["small"]


def test_a_listener_of_events_that_fails_hangs_no_request() -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("the socket is gone")

    engine, big, small, collected = Engine(fail, lambda index: None), FakeRung("big"), FakeRung("small"), Collected()
    big.error = InferenceError("out of memory")
    engine.start()
    try:
        engine.install(ladder(big, small))
        engine.submit(FEEDS, now_ns(), collected.done)
        assert names(collected.wait()) == ["InferenceError"]
        engine.submit(FEEDS, now_ns(), collected.done)
        assert names(collected.wait()) == ["InferenceError", "small"]
    finally:
        engine.stop()


def test_a_rung_that_cannot_be_freed_does_not_end_the_thread(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, collected = FakeRung("old"), FakeRung("new"), Collected()
    monkeypatch.setattr(old, "close", lambda: 1 / 0)
    engine.install(ladder(old))
    engine.install(ladder(new, deployment_id="d2"))
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["new"]


def test_a_callback_that_fails_does_not_end_the_thread(engine: Engine) -> None:
    rung, collected = FakeRung("rung"), Collected()
    engine.install(ladder(rung))

    def fail(result: Answer | MusterError) -> None:
        raise RuntimeError("the event loop is closed")

    engine.submit(FEEDS, now_ns(), fail)
    engine.submit(FEEDS, now_ns(), collected.done)
    assert names(collected.wait()) == ["rung"]


def test_a_rung_loaded_later_is_used_and_the_evicted_one_freed(engine: Engine) -> None:
    big, middle, small = FakeRung("big"), FakeRung("middle"), FakeRung("small")
    partly = ladder(big, middle, small)
    del partly.rungs[0]
    partly.guard.resident({1, 2})
    engine.install(partly)
    engine.load(partly, 0, cast("LoadedRung", big), make_room=True)
    collected = Collected()
    engine.submit(FEEDS, now_ns(), collected.done)
    collected.wait()
    assert middle.is_closed
    assert set(partly.rungs) == {0, 2}


def test_stop_answers_what_is_queued_and_frees_everything() -> None:
    engine, rung, collected = Engine(lambda event: None, lambda index: None), FakeRung("rung"), Collected()
    engine.install(ladder(rung))
    for _ in range(5):
        engine.submit(FEEDS, now_ns(), collected.done)
    engine.start()
    engine.stop()
    assert names(collected.results) == ["rung"] * 5
    assert rung.is_closed
