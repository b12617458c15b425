"""Alembic's entry: runs revisions on the connection that the caller hands over, inside its transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from muster_controller.adapters.store_sqlalchemy.tables import METADATA

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
