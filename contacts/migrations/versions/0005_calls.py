"""When a provider was called for a touch

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("touches", sa.Column("called_at", sa.TIMESTAMP(timezone=True)))
