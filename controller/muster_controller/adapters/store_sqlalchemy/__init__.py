"""The store over SQLAlchemy: SQLite (WAL) today, PostgreSQL behind the same tables later.

In scope: rows, transactions, paging, durability. Not in scope: any rule; those live in ``core`` and are asked from here
where they must run inside a transaction (tokens, reports, what is in force).
"""

from muster_controller.adapters.store_sqlalchemy.store import SqlAlchemyStore, open_store

__all__ = ["SqlAlchemyStore", "open_store"]
