"""Alembic's entry: runs the migrations over the URL that ``contacts.migrate`` was given."""

import sqlalchemy as sa
from alembic import context

from contacts.tables import metadata

engine = sa.create_engine(context.config.attributes["url"], poolclass=sa.NullPool)
with engine.connect() as connection:
    # Two processes that start together must not both migrate: the second waits and finds nothing to do.
    connection.execute(sa.text("SELECT pg_advisory_lock(7265657465)"))
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
