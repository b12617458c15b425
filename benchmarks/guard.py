"""What one decision of the guard costs in plain Python.

    python benchmarks/guard.py -o json

Claim: at most 50 us a decision at p99, with a ladder of five rungs, for queues from empty to 64 waiting. Counted is the
CPU time of the deciding thread (arrival, decision and observation together), so that neighbours on the machine do not.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time

from muster_agent.core.guard import Guard
from muster_protos.model import Configuration, Rung, ServingGrant, Slo

MS = 1_000_000
LIMIT_US = 50.0


def measure(waiting: int, decisions: int, seed: int = 1) -> dict[str, float]:
    """Decide and observe ``decisions`` times at 200 requests/s with ``waiting`` behind each."""
    rungs = tuple(
        Rung(Configuration(f"rung{index}"), round(p50_ms * MS), round(1.2 * p50_ms * MS))
        for index, p50_ms in enumerate((20.0, 14.0, 10.0, 7.0, 4.0))
    )
    guard, source = Guard(ServingGrant("bench", rungs, Slo(50 * MS, 95.0))), random.Random(seed)
    now_ns, spent_ns = 1_000_000_000, []
    for _ in range(decisions):
        now_ns += round(source.expovariate(200) * 1e9)
        behind = [now_ns - round(20 * MS * (waiting - index) / (waiting + 1)) for index in range(waiting)]
        started_ns = time.thread_time_ns()
        guard.arrived(now_ns)
        verdict = guard.decide(now_ns, now_ns - round(source.random() * 20 * MS), behind)
        if verdict.rung is not None:
            guard.served(verdict.rung, round(rungs[verdict.rung].p50_ns * source.lognormvariate(0, 0.2)), now_ns)
        spent_ns.append(time.thread_time_ns() - started_ns)
    spent_ns.sort()
    return {
        "waiting": waiting,
        "p50_us": spent_ns[len(spent_ns) // 2] / 1e3,
        "p99_us": spent_ns[len(spent_ns) * 99 // 100] / 1e3,
    }


def main() -> int:
    """Measure and print; exit status 1 when a decision costs more than the claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    rows = [measure(waiting, options.decisions) for waiting in (0, 4, 16, 64)]
    if options.output == "json":
        print(json.dumps(rows, indent=2))
    else:
        print(f"Python {platform.python_version()} on {platform.machine()}; limit {LIMIT_US:g} us at p99")
        for row in rows:
            print(f"  {row['waiting']:>3} waiting: p50 {row['p50_us']:6.1f} us, p99 {row['p99_us']:6.1f} us")
    if max(row["p99_us"] for row in rows) > LIMIT_US:
        print(f"a decision costs more than {LIMIT_US:g} us here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
