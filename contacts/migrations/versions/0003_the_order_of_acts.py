"""The order of acts: events, claims, exits and merges are numbered while the contact's row is locked

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # No cache: a session that keeps numbers for later would hand them out in the wrong order.
    op.execute("CREATE SEQUENCE acts CACHE 1")
    op.add_column("events", sa.Column("act", sa.BigInteger()))
    op.add_column("events", sa.Column("stored_for", sa.Uuid(as_uuid=False)))
    op.create_foreign_key(None, "events", "contacts", ["stored_for"], ["id"])
    op.create_table_comment("events", "What happened; stored_for: whose it was before a merge gave it to contact_id")
    op.add_column("decisions", sa.Column("act", sa.BigInteger()))
    op.add_column("runs", sa.Column("exit_act", sa.BigInteger()))
    op.add_column("contacts", sa.Column("merge_act", sa.BigInteger()))
