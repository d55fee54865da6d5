"""The tables as the code sees them are the tables the migrations make."""

import re
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from contacts import migrate, tables


def differences(url: str, metadata: sa.MetaData) -> list[Any]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as conn:
        return compare_metadata(MigrationContext.configure(conn, opts={"compare_server_default": True}), metadata)


def test_migrations_make_the_tables(database_url: str) -> None:
    assert differences(database_url, tables.metadata) == []


def test_a_difference_would_be_seen(database_url: str) -> None:
    other = sa.MetaData()
    for table in tables.metadata.tables.values():
        table.to_metadata(other)
    other.tables["runs"].append_column(sa.Column("forgotten", sa.Text))
    [[kind, *_]] = differences(database_url, other)
    assert kind == "add_column"


def test_migrating_again_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    assert differences(database_url, tables.metadata) == []


def test_every_partial_index_and_comment_is_there(database_url: str) -> None:
    """What the comparison does not look at: the conditions of indexes."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.connect() as conn:
        found = dict(
            conn.execute(sa.text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")).all()
        )
    wanted = {
        index.name: str(condition)
        for table in tables.metadata.tables.values()
        for index in table.indexes
        if (condition := index.dialect_options["postgresql"]["where"]) is not None
    }
    assert set(wanted) == {
        "inbox_unfinished", "runs_open_once", "runs_by_key", "dispatches_due", "touches_waiting", "pauses_open_once",
        "tellings_failed",
        "events_holds", "runs_to_begin", "runs_to_wake", "runs_to_end", "dispatches_steering", "touches_claimed",
        "touches_settled", "handoffs_waiting", "approvals_waiting",
    }  # fmt: skip
    for name, condition in wanted.items():
        assert _plain(condition) == _plain(found[name].partition(" WHERE ")[2]), name


def _plain(condition: str) -> list[str]:
    """A condition's own words, however PostgreSQL chose to write them down."""
    as_list = condition.replace("= ANY (ARRAY[", " IN ").replace("::text[]", "").replace("::text", "")
    return re.findall(r"[A-Za-z_]+(?:\.[a-z]+)?|=", as_list)
