"""The agent's durable state in SQLite.

In scope: the database, its rows, copies of what a device cannot do without. Not in scope: artifacts, identity.
"""

from muster_agent.adapters.state_sqlite.store import REJECTIONS_KEPT, SqliteState

__all__ = ["REJECTIONS_KEPT", "SqliteState"]
