"""What other systems are told and asked, and at which pace

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "paces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("free_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="When an outside system may be called next, by all workers together",
    )
    op.create_table(
        "outages",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("tried_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("provider"),
        comment="Providers from whom nothing but failures has come since",
    )
    op.create_table(
        "tellings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="waiting"),
        sa.Column("round", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("provider_id", sa.Text()),
        sa.Column("settled_at", _TIME),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        sa.UniqueConstraint("event_id", "sink", name="tellings_once"),
        comment="Events that another system is told of; status waiting, told or failed; round counts the replays",
    )
    op.create_index("tellings_failed", "tellings", ["id"], postgresql_where=sa.text("status = 'failed'"))
    op.alter_column("dispatches", "run_id", nullable=True)
    op.create_table_comment(
        "dispatches",
        "What Temporal must still hear; kind start, event or exit, in order within a run; or tell, of no run",
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("polled_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="How far a system that is asked what happened has been asked",
    )
    op.create_table(
        "tokens",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("source", "token"),
        comment="What was signed in place of a body, and the one body that it came with",
    )
    op.create_index("tokens_by_age", "tokens", ["source", "seen_at"])
