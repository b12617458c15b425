"""Questions to the controller that wait for answers: asked from any thread, answered by the link's."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from muster_protos.errors import UnreachableError
from muster_protos.model import Block, BlockRequest, Refusal, RenewAnswer, RenewCall

Question = BlockRequest | RenewCall
Answer = Block | RenewAnswer | Refusal


@dataclass(frozen=True, slots=True)
class _Broken:
    reason: str


class Call:
    """One fetch or renewal. Its answers wait here; more than were asked for never do."""

    def __init__(self, request_id: int, ask: Callable[[Question], None]) -> None:
        self.request_id = request_id
        self._ask = ask
        self._asked = 0  # counted by the caller's thread
        self._answered = 0  # counted by the link's
        self._answers: queue.SimpleQueue[Answer | _Broken] = queue.SimpleQueue()
        self._broken: _Broken | None = None

    def ask(self, question: Question) -> None:
        """Queue it for the link's thread."""
        self._asked += 1
        self._ask(question)

    def wait(self, timeout_s: float) -> Answer | None:
        """The next answer, or None when none comes in time.

        Raises:
            UnreachableError: the session is over.
        """
        try:
            answer = None if self._broken else self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        broken = self._broken or answer
        if isinstance(broken, _Broken):
            raise UnreachableError(f"the link broke: {broken.reason}")
        return answer if not isinstance(answer, _Broken) else None

    def answered(self, answer: Answer) -> None:
        if self._answered < self._asked:
            self._answered += 1
            self._answers.put(answer)

    def break_off(self, reason: str) -> None:
        self._broken = _Broken(reason)
        self._answers.put(self._broken)


class Calls:
    """All open calls of a session."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, Call] = {}
        self._questions: deque[Question] = deque()
        self._end: str | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Call]:
        """A call, while the block runs.

        Raises:
            UnreachableError: the session is over.
        """
        with self._lock:
            if self._end is not None:
                raise UnreachableError(f"the session ended: {self._end}")
            call = Call(next(self._numbers), self._ask)
            self._open[call.request_id] = call
        try:
            yield call
        finally:
            with self._lock:
                self._open.pop(call.request_id, None)

    def next_question(self) -> Question | None:
        """What is to be published next."""
        while self._questions:
            question = self._questions.popleft()
            if question.request_id in self._open:
                return question
        return None

    def answered(self, answer: Answer) -> None:
        """From the controller; what nobody waits for is dropped."""
        call = self._open.get(answer.request_id)
        if call is not None:
            call.answered(answer)

    def break_off(self, reason: str) -> None:
        """The session is over."""
        with self._lock:
            self._end = reason
            calls = tuple(self._open.values())
        for call in calls:
            call.break_off(reason)

    def _ask(self, question: Question) -> None:
        self._questions.append(question)
        self._wake()
