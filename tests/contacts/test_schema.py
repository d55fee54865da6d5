"""The tables as the code sees them are the tables the migrations make."""

import re
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from contacts import migrate, tables
from ops import engines
from tests.contacts.support import at


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


def test_a_run_that_was_paused_before_runs_knew_of_it_rests(postgres_server: str) -> None:
    name = f"old_{uuid4().hex}"
    url = engines.create_database(postgres_server, name)
    command.upgrade(migrate._config(url), "0009")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    told = {"rests": ("pause",), "goes on": ("pause", "resume"), "over": ("pause",), "never": ()}
    one, when = str(uuid4()), {"created_at": at(0)}
    with engine.begin() as conn:
        conn.execute(sa.insert(tables.contacts).values(id=one, facts={}, **when))
        event = {"id": one, "source": "s", "source_id": "i", "type": "t", "occurred_at": at(0), "received_at": at(0)}
        conn.execute(sa.insert(tables.events).values(contact_id=one, identities=[], data={}, **event))
        for key, words in told.items():
            run = {"id": str(uuid4()), "workflow_id": key, "journey": "course", "key": key, "started_at": at(0)}
            ended = {"ended_at": at(1) if key == "over" else None, "entered_at": at(0)}
            conn.execute(sa.insert(tables.runs).values(contact_id=one, entry_event=one, **run, **ended))
            for day, kind in enumerate(words, 2):
                word = {"run_id": run["id"], "kind": kind, "payload": {}, "created_at": at(day)}
                conn.execute(sa.insert(tables.dispatches).values(word))
    migrate.upgrade(url)
    with engine.connect() as conn:
        rests = dict(conn.execute(sa.select(tables.runs.c.key, tables.runs.c.paused_at)).all())
    assert rests == {"rests": at(2), "goes on": None, "over": None, "never": None}
    engines.drop_database(postgres_server, name)


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
        "events_holds", "runs_to_begin", "runs_to_wake", "runs_to_end", "touches_claimed",
        "touches_settled", "handoffs_waiting", "approvals_waiting",
    }  # fmt: skip
    for name, condition in wanted.items():
        assert _plain(condition) == _plain(found[name].partition(" WHERE ")[2]), name


def _plain(condition: str) -> list[str]:
    """A condition's own words, however PostgreSQL chose to write them down."""
    as_list = condition.replace("= ANY (ARRAY[", " IN ").replace("::text[]", "").replace("::text", "")
    return re.findall(r"[A-Za-z_]+(?:\.[a-z]+)?|=", as_list)
