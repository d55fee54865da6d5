"""Runs that an operator has paused: the gate must know, not only the run

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    op.add_column("runs", sa.Column("paused_at", time))
    op.add_column("runs", sa.Column("resumed_at", time))
    op.create_table_comment(
        "runs", "One row a run; exited_at: an event ended it; ended_at: the workflow finished; paused_at: it rests"
    )
    # Until now only the last word that a run was told said so.
    op.execute(
        "UPDATE runs SET paused_at = told.created_at FROM ("
        " SELECT DISTINCT ON (run_id) run_id, kind, created_at FROM dispatches"
        " WHERE kind IN ('pause', 'resume') ORDER BY run_id, id DESC"
        ") AS told WHERE told.run_id = runs.id AND told.kind = 'pause' AND exited_at IS NULL AND ended_at IS NULL"
    )
    op.drop_index("dispatches_steering", "dispatches")
