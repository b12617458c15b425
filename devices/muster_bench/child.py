"""The throw-away child: one command in on stdin, messages out on the pipe ``result_fd``. See ``converse``.

Started as ``python -m muster_bench.child`` behind ``muster_bench.jail``. Commands import what they need and no more,
so that the cold start of a runtime is not hidden behind other imports.
"""

from __future__ import annotations

import time

STARTED_NS = time.monotonic_ns()  # before other imports: the end of the spawn phase

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from muster_protos.errors import MusterError  # noqa: E402

Json = dict[str, Any]
Send = Callable[[Json], None]


def main() -> int:
    """Execute the command; the exit status is 0 only when it gave a result."""
    spec: Json = json.loads(sys.stdin.buffer.read())
    os.set_inheritable(spec["result_fd"], False)
    with os.fdopen(spec["result_fd"], "wb", buffering=0) as pipe:

        def send(message: Json) -> None:
            pipe.write(json.dumps(message).encode() + b"\n")

        try:
            send({"result": _command(spec["command"])(spec, send)})
        except MusterError as error:
            send({"error": {"kind": type(error).__name__, "message": str(error)}})
            return 1
        except MemoryError:
            send({"error": {"kind": "MemoryError", "message": "ran out of the memory that it may use"}})
            return 1
    return 0


def _command(name: str) -> Callable[[Json, Send], Json]:
    match name:
        case "benchmark":
            from muster_bench.commands.benchmark import benchmark

            return benchmark
        case "cold_start":
            from muster_bench.commands.cold_start import cold_start

            return cold_start
        case "self_test":
            from muster_bench.commands.self_test import self_test

            return self_test
        case "check":
            from muster_bench.commands.check import check

            return check
        case "probe":
            from muster_bench.commands.probe import probe

            return probe
        case _:
            raise AssertionError(f"no command {name!r}")


if __name__ == "__main__":
    sys.exit(main())
