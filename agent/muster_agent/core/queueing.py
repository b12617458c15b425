"""Two rules of queues, as plain arithmetic: does a stream stay inside a limit, and can those who wait be saved."""

from __future__ import annotations

import math
from collections.abc import Iterable

MAX_UTILISATION = 0.95
_LN_100 = math.log(100)
_NS_PER_S = 1_000_000_000


def utilisation(service_ns: float, rate_per_s: float) -> float:
    """Share of the time that one server of this service time is busy (rho)."""
    return rate_per_s * service_ns / _NS_PER_S


def backlog_p99_ns(service_ns: float, rate_per_s: float) -> float:
    """99th percentile of the time in the system, infinite from ``MAX_UTILISATION`` on.

    lat * (1 + ln(100) * rho / (2 (1 - rho))): the mean wait of an M/D/1 queue (Pollaczek-Khinchine with constant
    service), its tail taken as exponential.
    """
    rho = utilisation(service_ns, rate_per_s)
    if rho >= MAX_UTILISATION:
        return math.inf
    return service_ns * (1 + _LN_100 * rho / (2 * (1 - rho)))


def rescue_start_ns(waiting_arrivals_ns: Iterable[int], limit_ns: float, cheapest_ns: float) -> float:
    """The latest moment to begin with those who wait so that each is answered in time on the cheapest rung.

    Args:
        waiting_arrivals_ns: in the order in which they will be served.
        limit_ns: a request must be answered this long after its arrival.
        cheapest_ns: service time of the cheapest rung.

    Returns:
        monotonic ns; infinite when nobody waits.
    """
    latest = math.inf
    needed_ns = cheapest_ns
    for arrival_ns in waiting_arrivals_ns:
        latest = min(latest, arrival_ns + limit_ns - needed_ns)
        needed_ns += cheapest_ns
    return latest
