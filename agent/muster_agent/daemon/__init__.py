"""The daemon: reads whole state, plans, does one step at a time, reports.

In scope: the loop and the steps. Not in scope: sockets, processes, files and databases (ports), the rules (core).
"""

from muster_agent.daemon.daemon import Daemon
from muster_agent.daemon.parts import Parts, Settings

__all__ = ["Daemon", "Parts", "Settings"]
