"""The installation a command speaks to: the one the settings name, or what runs in this directory: `up` or the demo."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import settings as configuration
from contacts import policy as policies
from contacts.clock import Clock
from contacts.database import connect
from contacts.events import InvalidEvent
from contacts.intake import Intake
from contacts.policy import Policy
from contacts.store import NoSuchContact
from ops import claim
from ops.output import Failure

NOTHING_RUNS = "nothing is running here: start it with `perennial up` or set PERENNIAL_DATABASE_URL"


@dataclass(frozen=True)
class Installation:
    """Where the facts are, and the rules they are read by.

    Attributes:
        temporal_address: Of the Temporal server; None for the one that Temporal's own configuration names.
    """

    engine: AsyncEngine
    policy: Policy
    clock: Clock
    settings: configuration.Settings
    temporal_address: str | None = None

    @property
    def intake(self) -> Intake:
        """The door for events; the gateway's relay tells Temporal what follows from them."""
        from workflows.registry import CARDS  # brings Temporal along, which a command that only reads can do without

        return Intake(self.engine, CARDS, self.policy)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every query sees the same moment."""
        async with self.engine.connect() as conn:
            yield await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@asynccontextmanager
async def opened() -> AsyncIterator[Installation]:
    """The installation, for as long as the block runs.

    Raises:
        Failure: There is none, its settings are wrong, its database is out of reach, or the block asked for a contact
            or recorded an event that cannot be.
    """
    try:
        settings = configuration.load()
        policy = policies.load(settings.policy_file)
    except configuration.WrongSetting as error:
        raise Failure(str(error), status=2) from None
    except policies.PolicyError as error:
        raise Failure(f"PERENNIAL_POLICY_FILE: {error}", status=2) from None
    url, clock, temporal_address = place(settings)
    engine = connect(url, pool_size=2)
    try:
        yield Installation(engine, policy, clock, settings, temporal_address)
    except (OperationalError, InterfaceError) as error:
        where = engine.url.render_as_string(hide_password=True)
        why = str(error.orig).splitlines()[0]
        raise Failure(f"the database {where} is out of reach ({why}): is it running?") from None
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != "42P01":
            raise
        where = engine.url.render_as_string(hide_password=True)
        raise Failure(f"the database {where} has no tables of ours: run `python -m ops.migrate`") from None
    except (NoSuchContact, InvalidEvent) as error:
        raise Failure(str(error)) from None
    finally:
        await engine.dispose()


def place(settings: configuration.Settings) -> tuple[str, Clock, str | None]:
    """The database's URL, the journeys' clock, and the Temporal server if not the one its configuration names.

    Raises:
        Failure: Nothing runs here.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value(), settings.clock, None
    running = claim.find(configuration.DATA) or claim.find(configuration.DATA / "demo")
    if running is None:
        raise Failure(NOTHING_RUNS)
    return running.database, running.clock, running.temporal
