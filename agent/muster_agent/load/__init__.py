"""The load child: open-loop Poisson requests to the serving child, and busy cores.

In scope: scheduling, sending, timing from the scheduled moment, counting. Not in scope: the serving process itself
(``muster_agent.serving``), choosing loads (the controller), benchmarks (``muster_bench``).
"""
