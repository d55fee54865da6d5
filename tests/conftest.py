"""What tests of the facts share: one real PostgreSQL for all workers, and an empty migrated database for each test."""

import fcntl
import gc
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import database, migrate
from contacts.intake import Intake
from contacts.policy import Policy, load
from ops import engines
from tests.databases import Databases
from workflows.registry import CARDS

_TEMPLATE = "migrated"

# How long an example takes says more about the machine than about the code.
settings.register_profile("perennial", deadline=None)
settings.load_profile("perennial")


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays; no collection of garbage need look through it again."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared(testrun_uid: str) -> Iterator[Path]:
    """A directory that every worker of this session uses. Not pytest's own: it shuts out PostgreSQL's user."""
    place = Path(tempfile.gettempdir()) / f"perennial-tests-{testrun_uid}"
    place.mkdir(exist_ok=True)
    yield place
    if not (place / "postgres" / "postmaster.pid").exists():
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(shared: Path) -> Iterator[str]:
    """The URL of a PostgreSQL that every worker of this session uses."""
    with engines.postgres(shared / "postgres") as url:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            # Nothing here must outlive the machine, and a deadlock need not last a second to be one.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET deadlock_timeout = '100ms'")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def template_database(postgres_server: str, shared: Path) -> str:
    """The name of an empty database with the current schema. The first worker makes it, the others wait."""
    with (shared / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(psycopg.errors.DuplicateDatabase):
            migrate.upgrade(engines.create_database(postgres_server, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def databases(postgres_server: str, template_database: str) -> Databases:
    return Databases(postgres_server, template_database)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database that is this test's own."""
    with databases.lent() as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = database.connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def shipped_policy() -> Path:
    """The policy file of the repository."""
    return Path(__file__).parents[1] / "policy.toml"


@pytest.fixture(scope="session")
def policy(shipped_policy: Path) -> Policy:
    return load(shipped_policy)


@pytest.fixture
def intake(engine: AsyncEngine, policy: Policy) -> Intake:
    return Intake(engine, CARDS, policy)
