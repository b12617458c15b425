"""``python -m muster_agent.serving``: the serving child of one model, started by the agent."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from muster_agent.serving.confine import confine
from muster_agent.serving.keeper import Keeper
from muster_agent.serving.transports import Transports
from muster_agent.version import agent_version
from muster_protos.ids import check_id

_SWITCH_INTERVAL_S = 0.0005  # the inference thread must not wait 5 ms for the interpreter while a request is parsed


async def serve(options: argparse.Namespace) -> None:
    """Serve until the agent, a signal or the agent's absence ends it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()

    def end(reason: str) -> None:
        if not ended.done():
            ended.set_result(reason)

    def end_soon(reason: str) -> None:
        loop.call_soon_threadsafe(end, reason)

    transports = Transports(options.host, agent_version(), loop)
    keeper = Keeper(
        options.socket,
        options.model,
        transports,
        on_end=end_soon,
        is_child=True,
        slowdown_ratio=options.slowdown,
        memory_limit_bytes=options.memory_limit_bytes,
    )
    transports.serve(keeper.engine)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, f"signal {number.name}")
    keeper.start()
    logging.getLogger(__name__).info("serving of %s ends: %s", options.model, await ended)
    await transports.close()
    await asyncio.to_thread(keeper.close)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, limit this process, serve."""
    parser = argparse.ArgumentParser(prog="muster_agent.serving", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="the agent's Unix socket")
    parser.add_argument("--model", required=True, help="the model to serve")
    parser.add_argument("--host", default="127.0.0.1", help="where apps reach it")
    parser.add_argument("--slowdown", type=float, default=1.0, help="declared slowdown of an emulated device")
    parser.add_argument("--memory-limit-bytes", type=int, help="of data memory; rungs stay loaded below it")
    options = parser.parse_args(arguments)
    check_id(options.model, "model id")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    confine(options.memory_limit_bytes)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
