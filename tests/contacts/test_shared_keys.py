"""A key that many contacts have, such as a date, tells a contact's own runs apart and means nobody else's."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import store, tables
from contacts.intake import Intake
from contacts.specs import on
from tests.contacts.support import START, at, card, facts_of, rows, told
from workflows.registry import CARDS

BOB = {"email": "bob@example.com"}

YEARLY = card(
    "yearly", trigger=on("date.approaching"), exits=on("meeting.booked"), success=on("a.b"), key="date", shared_key=True
)


@pytest.fixture
def yearly(intake: Intake) -> Intake:
    return Intake(intake.engine, (YEARLY,), intake.policy)


async def comes_near(intake: Intake, **who: dict[str, str]) -> None:
    event = told("date.approaching", name="renewal", date="2026-05-01", **who)
    receipt = await intake.record(event, START)
    assert [(start.journey, start.key) for start in receipt.plan.starts] == [("yearly", "2026-05-01")]


async def test_an_event_that_names_the_key_ends_only_the_contacts_own_run(engine: AsyncEngine, yearly: Intake) -> None:
    await comes_near(yearly)
    await comes_near(yearly, who=BOB)
    await yearly.record(told("meeting.booked", at(1), date="2026-05-01"), at(1))
    alice = (await facts_of(engine)).contact_id
    assert {r.contact_id: r.outcome for r in await rows(engine, tables.runs)}[alice] == "exited"
    assert [r.outcome for r in await rows(engine, tables.runs, tables.runs.c.contact_id != alice)] == [None]


async def test_nobody_waits_for_others_with_the_same_key(engine: AsyncEngine, yearly: Intake) -> None:
    await comes_near(yearly)
    async with engine.begin() as conn:
        await store.lock(conn, (await facts_of(engine)).contact_id)
        async with asyncio.timeout(10):
            await comes_near(yearly, who=BOB)


async def test_an_exit_of_somebody_else_with_the_key_keeps_nobody_out(engine: AsyncEngine, yearly: Intake) -> None:
    await yearly.record(told("meeting.booked", at(1), date="2026-05-01"), at(1))
    await comes_near(yearly, who=BOB)


def test_journeys_keyed_by_a_date_or_a_broadcast_share_it() -> None:
    assert {c.name for c in CARDS if c.key in ("date", "broadcast")} == {c.name for c in CARDS if c.shared_key}
