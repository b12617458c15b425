"""``python -m muster_agent.load``: a LoadSpec as JSON on standard input, a LoadResult as bytes on standard output.

Exit status 0 with a result, 1 with one line on standard error. SIGTERM ends the load early with what it has.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from muster_agent.load.run import LoadRun
from muster_agent.load_process import LoadSpec, parse_spec
from muster_protos.codec import encode
from muster_protos.errors import MusterError
from muster_protos.model import LoadResult


async def run(spec: LoadSpec) -> LoadResult:
    """Run one load to its end."""
    load = LoadRun(spec)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop, "stopped")
    if 0 < spec.request.expires_at_ns < time.time_ns():
        load.stop("expired before it started")
    return await load.run()


def main() -> int:
    """Read, run, answer."""
    try:
        result = asyncio.run(run(parse_spec(sys.stdin.read())))
    except MusterError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(encode(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
