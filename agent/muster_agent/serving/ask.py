"""From an asyncio transport to the engine's thread and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from muster_agent.serving.engine import Answer, Engine
from muster_agent.serving.tensors import Array
from muster_protos.errors import MusterError


async def ask(engine: Engine, feeds: Mapping[str, Array], arrival_ns: int) -> Answer:
    """Submit one request and wait for its answer.

    Raises:
        RefusedError: shed.
        RequestError: it does not fit the signature.
        InferenceError: the runtime failed.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[Answer] = loop.create_future()

    def settle(result: Answer | MusterError) -> None:
        if waiting.done():  # the app hung up
            return
        if isinstance(result, Answer):
            waiting.set_result(result)
        else:
            waiting.set_exception(result)

    def done(result: Answer | MusterError) -> None:
        loop.call_soon_threadsafe(settle, result)

    engine.submit(feeds, arrival_ns, done)
    return await waiting


def arrival_ns() -> int:
    """The clock of arrivals, answers and the guard."""
    return time.monotonic_ns()
