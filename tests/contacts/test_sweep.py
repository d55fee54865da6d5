"""A sweep records what time has made due, once, however often it runs and wherever it dies."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import tables
from contacts.intake import Intake
from contacts.sweep import sweep_page
from tests.contacts.support import at, facts_of, rows, told


async def used(intake: Intake, email: str, day: float = 0) -> None:
    await intake.remember(told("purchase.completed", at(day), who={"email": email}, order_id=email), at(day))
    await intake.remember(told("feature.used", at(day), who={"email": email}), at(day))


async def fallen(engine: AsyncEngine) -> list[str]:
    of_type = tables.events.c.type == "usage.fell"
    return [row.contact_id for row in await rows(engine, tables.events, of_type)]


async def test_a_sweep_records_what_is_due_and_again_nothing(engine: AsyncEngine, intake: Intake) -> None:
    await used(intake, "alice@example.com")
    assert (await sweep_page(intake, at(20))).recorded == 0
    first = await sweep_page(intake, at(22))
    assert first.looked_at == 1
    assert await fallen(engine) == [(await facts_of(engine)).contact_id]
    assert (await sweep_page(intake, at(22))).recorded == 0
    assert (await sweep_page(intake, at(23))).recorded == 0
    assert len(await fallen(engine)) == 1


async def test_a_silence_that_was_broken_and_came_back_is_another_one(engine: AsyncEngine, intake: Intake) -> None:
    await used(intake, "alice@example.com")
    await sweep_page(intake, at(22))
    await intake.record(told("feature.used", at(30)), at(30))
    await sweep_page(intake, at(52))
    assert len(await fallen(engine)) == 2


async def test_what_is_stale_is_not_told_any_more(engine: AsyncEngine, intake: Intake) -> None:
    await used(intake, "alice@example.com")
    await sweep_page(intake, at(300))
    assert await fallen(engine) == []


async def test_pages_reach_everybody_and_a_sweep_that_died_goes_on(engine: AsyncEngine, intake: Intake) -> None:
    people = [f"p{n}@example.com" for n in range(5)]
    for email in people:
        await used(intake, email)
    page = await sweep_page(intake, at(22), size=2)
    assert (page.looked_at, page.last is not None) == (2, True)
    # It dies here; the next one begins at the beginning.
    looked, after = 0, None
    while True:
        page = await sweep_page(intake, at(22), after=after, size=2)
        looked, after = looked + page.looked_at, page.last
        if after is None:
            break
    assert looked == 5
    assert len(set(await fallen(engine))) == len(await fallen(engine)) == 5


async def test_time_alone_takes_a_contact_out_of_a_segment(engine: AsyncEngine, intake: Intake) -> None:
    for n in range(3):
        bought = told("purchase.completed", at(n), order_id=f"o-{n}", value=200_000, currency="EUR")
        await intake.record(bought, at(n))
    assert "high_value" in (await facts_of(engine)).segments
    await sweep_page(intake, at(200))
    assert "high_value" not in (await facts_of(engine)).segments
    moves = sa.and_(tables.events.c.type.like("segment.%"))
    assert [(r.type, r.data["segment"]) for r in await rows(engine, tables.events, moves)].count(
        ("segment.left", "high_value")
    ) == 1
    await sweep_page(intake, at(200))
    assert len([r for r in await rows(engine, tables.events, moves) if r.type == "segment.left"]) == 1
