"""An application that is built when it is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from muster_controller.web.late import LateApplication


class Built:
    """Notes what it was asked."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(stopping=asyncio.Event())
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])


async def _nothing(*_: Any) -> Any:
    raise AssertionError("nobody reads or writes")


def ask(late: LateApplication, path: str) -> Awaitable[None]:
    return late({"path": path}, _nothing, _nothing)


def run(course: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        await asyncio.wait_for(course(), 20)  # type: ignore[arg-type]

    asyncio.run(timed())


def test_it_is_built_once_however_many_ask_meanwhile_and_the_loop_goes_on() -> None:
    made: list[Built] = []
    go = threading.Event()

    def build() -> Built:
        go.wait(10)
        made.append(Built())
        return made[-1]

    async def course() -> None:
        late = LateApplication(build)
        asking = [asyncio.ensure_future(ask(late, f"/{number}")) for number in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in asking)
        asking.pop().cancel()  # who leaves does not end it for the others
        go.set()
        await asyncio.gather(*asking)
        await ask(late, "/later")

    run(course)
    assert [built.asked for built in made] == [["/0", "/1", "/later"]]


@pytest.mark.parametrize("is_built_before", [True, False])
def test_its_long_answers_are_told_to_end_also_when_it_is_built_too_late(is_built_before: bool) -> None:
    async def course() -> None:
        built = Built()
        late = LateApplication(lambda: built)
        if is_built_before:
            await late.built()
        late.stop()
        await ask(late, "/events")
        assert built.state.stopping.is_set()

    run(course)


def test_a_build_that_failed_is_tried_again_by_who_asks_next() -> None:
    built, failures = Built(), [OSError("no descriptor is left")]

    def build() -> Built:
        if failures:
            raise failures.pop()
        return built

    async def course() -> None:
        late = LateApplication(build)
        with pytest.raises(OSError, match="no descriptor"):
            await ask(late, "/first")
        late.stop()
        await ask(late, "/second")
        assert built.asked == ["/second"]

    run(course)


def test_nobody_builds_it_only_to_stop_it() -> None:
    LateApplication(lambda: pytest.fail("expected nothing to be built")).stop()
