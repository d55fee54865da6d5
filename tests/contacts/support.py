"""What the tests of the facts share: moments, happenings, cards, and a look into the tables."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contacts import store, tables
from contacts.claims import Claim, Gate
from contacts.events import Event, event, identities
from contacts.facts import Consent, Facts, Happening, Stamped
from contacts.gate import Ask
from contacts.intake import Intake
from contacts.policy import Policy
from contacts.specs import Card, Condition, Purpose, always, on

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def at(days: float = 0, **span: float) -> datetime:
    """A moment after the start: ``at(2)``, ``at(hours=3)``."""
    return START + timedelta(days=days, **span)


def happening(type: str, when: datetime = START, *, id: str | None = None, **data: Any) -> Happening:
    return Happening(id or uuid4().hex, type, when, data)


def told(
    type: str,
    when: datetime = START,
    *,
    who: Mapping[str, str] | None = None,
    id: str | None = None,
    **data: Any,
) -> Event:
    """An event as a connector hands it over; of Alice where ``who`` says nothing else."""
    whose = {"email": "alice@example.com"} if who is None else who
    return event(
        type,
        source="tests",
        source_id=id or uuid4().hex,
        occurred_at=when,
        identities=identities(*whose.items()),
        data=data,
    )


def reachable_facts(*purposes: Purpose, **profile: Any) -> Facts:
    """Facts of a contact with an address and a consent to the purposes (all, if none is named)."""
    given = {"email": "alice@example.com", "phone": "+4930901820", "timezone": "UTC", **profile}
    consents = {
        f"{channel}/{purpose}": Consent(channel, purpose, True, START - timedelta(days=900), "yes", "form")
        for channel in ("email", "sms")
        for purpose in purposes or ("promotional", "lifecycle")
    }
    return Facts(
        "c-1",
        profile={k: Stamped(v, START, "profile") for k, v in given.items() if v is not None},
        consents=consents,
    )


def card(name: str = "course", **changes: Any) -> Card:
    """A journey's card with nothing special about it."""
    fields: dict[str, Any] = {
        "name": name,
        "trigger": (on("form.submitted"),),
        "audience": "everybody",
        "goal": "a goal",
        "success": (on("purchase.completed"),),
        "exits": (on("conversation.started"),),
        "owner": "lifecycle",
        "purpose": "promotional",
        "reentry": always(),
        "max_run": timedelta(days=30),
        "review_by": date(2030, 1, 1),
    }
    return Card(**{**fields, **{k: (v,) if isinstance(v, Condition) else v for k, v in changes.items()}})


async def rows(engine: AsyncEngine, table: sa.Table, *where: sa.ColumnElement[bool]) -> list[Any]:
    """A table's rows, by its first column."""
    async with engine.connect() as conn:
        return list(await conn.execute(sa.select(table).where(*where).order_by(*table.primary_key.columns)))


async def facts_of(engine: AsyncEngine, text: str = "alice@example.com") -> Facts:
    async with engine.connect() as conn:
        return await store.find(conn, text)


async def someone(intake: Intake, *, email: str = "alice@example.com", when: datetime = START) -> str:
    """A contact with an address and every consent, who is in no journey; returns the id."""
    told_first = told("contact.updated", when, who={"email": email}, email=email, timezone="UTC")
    await intake.remember(told_first, when)
    receipt = await intake.remember(told("consent.granted", when, who={"email": email}, channel="all"), when)
    assert receipt.contact_id is not None
    return receipt.contact_id


async def a_run(
    engine: AsyncEngine, contact_id: str, *, journey: str = "course", key: str | None = None, entered: datetime = START
) -> str:
    """An open run, made by hand: no journey need start it."""
    run_id, event_id = str(uuid4()), str(uuid4())
    async with engine.begin() as conn:
        await conn.execute(
            sa.insert(tables.events).values(
                id=event_id,
                source="tests",
                source_id=event_id,
                type="form.submitted",
                occurred_at=entered,
                received_at=entered,
                contact_id=contact_id,
                identities=[],
                data={},
            )
        )
        await conn.execute(
            sa.insert(tables.runs).values(
                id=run_id,
                workflow_id=f"journey/{journey}/{contact_id}",
                journey=journey,
                contact_id=contact_id,
                key=key,
                entry_event=event_id,
                entered_at=entered,
                started_at=entered,
            )
        )
    return run_id


def an_ask(
    key: str,
    now: datetime = START,
    *,
    channel: str = "email",
    purpose: Purpose = "promotional",
    valid_for: timedelta = timedelta(days=7),
) -> Ask:
    # Each its own message: the same one twice would be an echo.
    return Ask(key, f"about-{key}", channel, purpose, "course", now, now + valid_for)


async def claim(gate: Gate, conn: AsyncConnection, ask: Ask, run_id: str, contact_id: str) -> Claim:
    return await gate.claim(conn, ask, run_id=run_id, contact_id=contact_id, stage="greet")


def changed(policy: Policy, **changes: Any) -> Policy:
    """A policy with some parts replaced."""
    return policy.model_copy(update=changes)


async def somebody_waits(engine: AsyncEngine, number: int = 1) -> None:
    """Returns once so many connections of this database wait for another's lock."""
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(30), engine.connect() as conn:
        while (await conn.execute(query)).scalar_one() < number:
            await conn.rollback()
