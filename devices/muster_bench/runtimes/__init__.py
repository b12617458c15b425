"""What executes an artifact, behind one small port. Child side: importing this needs numpy, opening a runtime."""

from muster_bench.runtimes.open_session import open_session
from muster_bench.runtimes.port import BoundRun, Feeds, Quantization, Session

__all__ = ["BoundRun", "Feeds", "Quantization", "Session", "open_session"]
