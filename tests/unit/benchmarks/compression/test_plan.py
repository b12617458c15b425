from __future__ import annotations

from benchmarks.compression.plan import BUDGET_S, SIDE_S, TEMPLATE_S, Part, Progress, teacher_s
from benchmarks.compression.tasks import TASKS


def test_the_plan_fits_the_budget():
    total = sum(
        teacher_s(task.fit.epochs, task.samples, task.images_per_s)
        + sum(TEMPLATE_S[name] for name in task.templates)
        + (SIDE_S if "transformer" not in task.templates else 0)
        for task in TASKS.values()
    )
    assert total < BUDGET_S


def test_the_time_left_follows_the_pace_of_what_is_done(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.compression.plan.time.monotonic", lambda: now[0])
    progress = Progress([Part("a", 100.0), Part("b", 200.0), Part("c", 50.0)])
    assert progress.left_s() == 350.0
    progress.begin("a")
    now[0] = 200.0  # twice as long as planned
    progress.end()
    assert progress.left_s() == 500.0
    progress.begin("b")
    now[0] = 300.0
    assert progress.left_s(0.5) == 100.0 + 100.0
    progress.end()
    progress.begin("c")
    progress.end()
    assert progress.left_s() == 0.0
