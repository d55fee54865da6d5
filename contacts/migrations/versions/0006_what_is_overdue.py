"""Halts with an end and their figures, and what the monitor asks for: chores, incidents, indexes

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    op.add_column("pauses", sa.Column("until", time))
    op.add_column("pauses", sa.Column("figures", postgresql.JSONB(astext_type=sa.Text())))
    op.create_table(
        "chores",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("every", sa.Interval(), nullable=False),
        sa.Column("done_at", time, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="What must be done again and again, and when it was done last",
    )
    op.create_table(
        "incidents",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", time, nullable=False),
        sa.Column("seen_at", time, nullable=False),
        sa.Column("told_at", time),
        sa.Column("told_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind"),
        comment="What is overdue and whether a person was told; by the clock of the machine",
    )

    def index(name: str, table: str, columns: list[str], where: str | None) -> None:
        op.create_index(name, table, columns, postgresql_where=sa.text(where) if where else None)

    index("inbox_received", "inbox", ["received_at", "status"], None)
    index("events_holds", "events", ["contact_id", "occurred_at"], "type IN ('hold.opened', 'hold.released')")
    index("runs_to_begin", "runs", ["started_at"], "stage IS NULL AND exited_at IS NULL AND ended_at IS NULL")
    awake = "next_wake IS NOT NULL AND exited_at IS NULL AND ended_at IS NULL"
    index("runs_to_wake", "runs", ["next_wake"], awake)
    index("runs_to_end", "runs", ["exited_at"], "exited_at IS NOT NULL AND ended_at IS NULL")
    index("dispatches_steering", "dispatches", ["run_id", "id"], "kind IN ('pause', 'resume')")
    index("touches_claimed", "touches", ["claimed_at"], "status = 'claimed'")
    index("touches_settled", "touches", ["settled_at", "status"], "settled_at IS NOT NULL")
    index("handoffs_waiting", "handoffs", ["contact_by"], "acknowledged_at IS NULL AND closed_at IS NULL")
