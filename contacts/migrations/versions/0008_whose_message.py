"""Whose a message is, by the provider's name for it

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("touches_at_provider", "touches", ["provider_id", "provider"])
    op.create_table_comment(
        "inbox", "Verified requests as they came; status received, parsed, ignored, nobody or failed"
    )
