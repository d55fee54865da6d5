"""Nothing that was verified is lost, and trying again does no harm."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import database, tables
from contacts.events import Event, InvalidEvent, PartlyUnderstood
from contacts.inbox import Inbox, Outcome
from contacts.intake import Intake
from tests.contacts.support import START, at, rows, told


@pytest.fixture
def inbox(intake: Intake) -> Inbox:
    return Inbox(intake)


async def accept(inbox: Inbox, parse: Callable[[], Sequence[Event]], **changes: Any) -> Outcome:
    request: dict[str, Any] = {
        "method": "POST",
        "url": "https://hub.example.com/webhooks/garden",
        "headers": {"Content-Type": "application/json"},
        "body": b'{"a": 1}',
        **changes,
    }
    return await inbox.accept("garden", parse=parse, now=START, **request)


async def kept(engine: AsyncEngine) -> list[tuple[str, str | None, int]]:
    return [(row.status, row.error, row.events) for row in await rows(engine, tables.inbox)]


async def test_a_request_is_kept_as_it_came_but_for_secrets(engine: AsyncEngine, inbox: Inbox) -> None:
    headers = {"X-Signature": "s", "Authorization": "Bearer secret", "cookie": "c", "X-API-Key": "k"}
    outcome = await accept(inbox, lambda: [told("page.viewed", page="blog")], headers=headers, body=b"\xff\0raw")
    [row] = await rows(engine, tables.inbox)
    assert (row.id, row.connector, row.received_at, row.method) == (outcome.inbox_id, "garden", START, "POST")
    assert row.body == b"\xff\0raw"
    assert row.headers == {"X-Signature": "s"}
    assert (row.status, row.error, row.events) == ("parsed", None, 1)


async def test_what_means_nothing_to_us_is_ignored(engine: AsyncEngine, inbox: Inbox) -> None:
    assert await accept(inbox, lambda: []) == Outcome(1, 0, None)
    assert await kept(engine) == [("ignored", None, 0)]


async def test_what_cannot_be_parsed_is_kept_with_one_line_and_understood_after_a_fix(
    engine: AsyncEngine, inbox: Inbox
) -> None:
    def broken() -> Sequence[Event]:
        raise InvalidEvent("data.order_id", "Field\nrequired \0 \ud800")

    outcome = await accept(inbox, broken)
    assert outcome.error == "InvalidEvent: data.order_id: Field required"
    assert await kept(engine) == [("failed", outcome.error, 0)]
    mended = await inbox.understand(outcome.inbox_id, lambda: [told("page.viewed", page="blog")], at(1))
    assert mended == Outcome(outcome.inbox_id, 1, None)
    assert await kept(engine) == [("parsed", None, 1)]


async def test_an_event_that_names_nobody_does_not_take_the_others_with_it(engine: AsyncEngine, inbox: Inbox) -> None:
    found = [
        told("page.viewed", page="blog", id="1"),
        told("page.viewed", who={}, page="blog", id="2"),
        told("page.viewed", page="pricing", id="3"),
    ]
    outcome = await accept(inbox, lambda: found)
    assert outcome.error == "InvalidEvent: identities: none that can name a contact"
    assert await kept(engine) == [("failed", outcome.error, 3)]
    assert {e.source_id for e in await rows(engine, tables.events)} == {"1", "3"}


async def test_what_a_request_half_says_is_recorded_and_the_rest_is_kept(engine: AsyncEngine, inbox: Inbox) -> None:
    def partly() -> Sequence[Event]:
        raise PartlyUnderstood("item 2 of 2: no type", [told("page.viewed", page="blog")])

    outcome = await accept(inbox, partly)
    assert outcome.error == "PartlyUnderstood: item 2 of 2: no type"
    assert len(await rows(engine, tables.events)) == 1


async def test_understanding_again_is_harmless(engine: AsyncEngine, inbox: Inbox) -> None:
    found = [
        told("checkout.started", checkout_id="c-1", id="1"),
        told("page.viewed", at(1), page="pricing", id="2"),
        told("purchase.completed", at(2), order_id="o", id="3"),
    ]
    outcome = await accept(inbox, lambda: found)
    tables_of_effect = (tables.events, tables.contacts, tables.runs, tables.dispatches, tables.journal)
    before = [await rows(engine, table) for table in tables_of_effect]
    for _ in range(2):
        assert await inbox.understand(outcome.inbox_id, lambda: found, at(3)) == outcome
    assert [await rows(engine, table) for table in tables_of_effect] == before
    assert await kept(engine) == [("parsed", None, 3)]


async def test_without_a_database_the_sender_is_told_to_try_again(intake: Intake) -> None:
    away = database.connect("postgresql://nobody@127.0.0.1:1/nothing")
    inbox = Inbox(Intake(away, intake.cards, intake.policy))
    with pytest.raises(sa.exc.OperationalError):
        await accept(inbox, lambda: [told("page.viewed", page="blog")])
    await away.dispose()
