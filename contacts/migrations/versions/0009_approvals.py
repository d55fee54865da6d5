"""What runs ask a person, and the answers

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("journey", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.Column("told_at", _TIME),
        sa.Column("alert_id", sa.Text()),
        sa.Column("answered_at", _TIME),
        sa.Column("answered_by", sa.Text()),
        sa.Column("approved", sa.Boolean()),
        sa.Column("closed_at", _TIME),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"]),
        comment="A yes that a run waits for: what, until when, who said what; closed_at: it went on without an answer",
    )
    op.create_index(op.f("ix_approvals_run_id"), "approvals", ["run_id"])
    op.create_index(op.f("ix_approvals_contact_id"), "approvals", ["contact_id"])
    open_ = sa.text("answered_at IS NULL AND closed_at IS NULL")
    op.create_index("approvals_waiting", "approvals", ["until"], postgresql_where=open_)
