"""The order of halts: a person's takes its number while no claim is under way

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("pauses", sa.Column("opened_act", sa.BigInteger()))
    op.add_column("pauses", sa.Column("released_act", sa.BigInteger()))
    op.create_table_comment(
        "pauses", "Halts, by an operator or the breaker (without opened_act); scope all, channel or journey"
    )
