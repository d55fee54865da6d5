"""Databases for tests that each want an empty one: making one takes far longer than emptying one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import psycopg
from psycopg import sql

from contacts import tables
from ops import engines

_TABLES = [sql.Identifier(table.name) for table in reversed(tables.metadata.sorted_tables)]


class Databases:
    """Empty databases with the current schema; one that is given back is lent again."""

    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._template = template
        self._spare: list[str] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of an empty database; whoever is still connected to it afterwards is thrown out."""
        url = self._spare.pop() if self._spare else self._new()
        yield url
        # Some tests break the schema; such a database is left alone until the server goes.
        with suppress(psycopg.errors.UndefinedTable):
            if _emptied(url) == _version(engines.database_url(self._server, self._template)):
                self._spare.append(url)

    def _new(self) -> str:
        return engines.create_database(self._server, f"test_{uuid4().hex}", template=self._template)


def _emptied(url: str) -> str:
    """Empties it; returns the version of its schema."""
    with _connected(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(table) for table in _TABLES))
        connection.execute("SELECT setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences")
    return _version(url)


def _version(url: str) -> str:
    with _connected(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else ""


def _connected(url: str) -> "psycopg.Connection[tuple[str]]":
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
