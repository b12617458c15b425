"""Clones and clocks of devices; records in the order in which they arrived, whatever a device's clock says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Records that are there are numbered by the only order that is left of them: their own times."""
    op.add_column("devices", sa.Column("cloned_at_ns", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("devices", sa.Column("clock_offset_ns", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("records", sa.Column("arrival", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE records SET arrival = (SELECT count(*) FROM records AS other WHERE other.finished_at_ns < "
        "records.finished_at_ns OR (other.finished_at_ns = records.finished_at_ns AND other.record_id <= "
        "records.record_id))"
    )
    op.create_index("ix_records_arrival", "records", ["arrival"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_records_arrival", "records")
    op.drop_column("records", "arrival")
    op.drop_column("devices", "clock_offset_ns")
    op.drop_column("devices", "cloned_at_ns")
