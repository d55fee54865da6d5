"""Pauses, and what a waiting touch waits for

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    op.create_table(
        "pauses",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", time, nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("told_at", time),
        sa.Column("released_at", time),
        sa.Column("released_by", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        comment="Halts, by an operator or the breaker; scope all, channel or journey",
    )
    open_ = sa.text("released_at IS NULL")
    op.create_index("pauses_open_once", "pauses", ["scope", "name"], unique=True, postgresql_where=open_)
    op.add_column("touches", sa.Column("wait_until", time))
    op.add_column("touches", sa.Column("hold", sa.Text()))
    op.create_index("touches_of_journey", "touches", ["journey", "claimed_at"])
    op.create_index("touches_waiting", "touches", ["contact_id"], postgresql_where=sa.text("status = 'waiting'"))
    op.create_index("runs_of_journey", "runs", ["journey", "started_at"])
