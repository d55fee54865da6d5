"""Nothing that was verified is lost, and trying again does no harm."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.base import Request
from connectors.twilio import Twilio, TwilioSettings
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
    secrets = {"Authorization": "Bearer secret", "cookie": "c", "X-API-Key": "k"}
    headers = {"X-Signature": "s", **secrets, "X-Perennial-Secret": "p", "x-make-apikey": "m"}
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
    assert outcome.error == "NamesNobody: identities: none that can name a contact"
    assert {e.source_id for e in await rows(engine, tables.events)} == {"1", "3"}


async def test_what_names_nobody_is_read_once_more_and_then_is_no_failure(engine: AsyncEngine, inbox: Inbox) -> None:
    def deal() -> Sequence[Event]:
        return [told("deal.stage_changed", who={}, id="1")]

    outcome = await accept(inbox, deal)
    # Whose it is may be recorded a moment later: the gateway reads again what is left.
    assert [status for status, *_ in await kept(engine)] == ["received"]
    assert await inbox.unread(at(1)) == [outcome.inbox_id]
    await inbox.understand(outcome.inbox_id, deal, at(hours=1))
    assert await kept(engine) == [("nobody", outcome.error, 1)]
    assert await inbox.unread(at(1)) == []
    await inbox.understand(outcome.inbox_id, lambda: [told("deal.stage_changed", id="1")], at(hours=2))
    assert await kept(engine) == [("parsed", None, 1)]


async def test_a_failure_beside_an_event_that_names_nobody_is_a_failure(engine: AsyncEngine, inbox: Inbox) -> None:
    nobodys = told("page.viewed", who={}, page="blog")

    def partly() -> Sequence[Event]:
        raise PartlyUnderstood("item 2 of 2: no type", [nobodys])

    outcome = await accept(inbox, partly)
    await inbox.understand(outcome.inbox_id, partly, at(1))
    assert [status for status, *_ in await kept(engine)] == ["failed"]


@pytest.mark.parametrize(
    ("query", "kept_query"),
    [
        ("", ""),
        ("?", "?"),
        ("?key=hush", "?key=***"),
        ("?a=1&KEY=hush&b=%20", "?a=1&KEY=***&b=%20"),
        ("?key=hush&key=hush", "?key=***&key=***"),
        ("?k%65y=hush", "?k%65y=***"),
        ("?token=hush&access_token=hush&secret=hush", "?token=***&access_token=***&secret=***"),
        ("?api_key=hush=&password=hush?key", "?api_key=***&password=***"),
        ("?touch=1-2--greet--3&bodySHA256=ab", "?touch=1-2--greet--3&bodySHA256=ab"),
        ("?event=send.delivered&monkeys=3", "?event=send.delivered&monkeys=3"),
    ],
)
async def test_no_secret_in_an_address_is_kept(engine: AsyncEngine, inbox: Inbox, query: str, kept_query: str) -> None:
    await accept(inbox, lambda: [], url=f"https://hub.example.com/webhooks/garden{query}")
    [row] = await rows(engine, tables.inbox)
    assert row.url == f"https://hub.example.com/webhooks/garden{kept_query}"


async def test_what_a_source_reads_in_the_address_is_still_there_when_it_is_read_again(
    engine: AsyncEngine, inbox: Inbox
) -> None:
    body = b"MessageSid=SM1&MessageStatus=delivered&To=%2B4930901820"
    url = "https://hub.example.com/webhooks/twilio?touch=r--greet--1&key=hush"
    await accept(inbox, lambda: [], url=url, body=body)
    [row] = await rows(engine, tables.inbox)
    [event] = Twilio(TwilioSettings()).parse(Request(row.method, row.url, row.headers, bytes(row.body)), START)
    assert event.data["touch"] == "r/greet/1"


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
