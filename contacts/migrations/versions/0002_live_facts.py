"""What came of the values a touch fetched as it went out

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("touches", sa.Column("live", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
