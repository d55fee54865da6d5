"""An event about a message is of whoever the message went to, if its own provider says it, whoever else it names."""

from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import tables
from contacts.events import Event, InvalidEvent, NamesNobody, event, identities
from contacts.intake import Intake
from tests.contacts.support import START, a_run, at, facts_of, rows, someone, told

KEY = "3c1d/greet/1"


@pytest.fixture
async def contact_id(engine: AsyncEngine, intake: Intake) -> str:
    """Somebody a gift went to, by ``tremendous`` as ``reward-1``."""
    contact_id = await someone(intake)
    touch = {
        "id": str(uuid4()),
        "key": KEY,
        "run_id": await a_run(engine, contact_id),
        "contact_id": contact_id,
        "journey": "course",
        "stage": "greet",
        "template": "present",
        "channel": "gift",
        "purpose": "lifecycle",
        "status": "sent",
        "asked_at": START,
        "valid_until": at(1),
        "provider": "tremendous",
        "provider_id": "reward-1",
    }
    async with engine.begin() as conn:
        await conn.execute(sa.insert(tables.touches).values(touch))
    return contact_id


def said(type: str = "message.delivered", *, source: str = "tremendous", **data: object) -> Event:
    return event(type, source=source, source_id=uuid4().hex, occurred_at=at(1), data={"channel": "gift", **data})


@pytest.mark.parametrize(
    "named",
    [
        {"touch": KEY},
        {"provider_id": "reward-1"},
        {"message_id": "reward-1"},
        {"touch": KEY, "provider_id": "another part of it"},
    ],
)
@pytest.mark.parametrize("type", ["message.delivered", "custom.gift_canceled"])
async def test_it_is_the_recipients(
    engine: AsyncEngine, intake: Intake, contact_id: str, named: dict[str, str], type: str
) -> None:
    receipt = await intake.record(said(type, **named), at(1))
    assert receipt.contact_id == contact_id
    [row] = await rows(engine, tables.events, tables.events.c.id == receipt.event_id)
    assert (row.data["touch"], row.identities) == (KEY, [["contact", contact_id]])


@pytest.mark.parametrize(
    "event",
    [
        said(),
        said(touch="3c1d/greet/2", provider_id="reward-1"),
        said(provider_id="reward-2"),
        said(provider_id=""),
        said(source="lob", touch=KEY),
        said(source="lob", provider_id="reward-1"),
        said(source="track", message_id="reward-1"),
    ],
)
async def test_nobody_else_can_say_so_and_of_no_other_message(
    engine: AsyncEngine, intake: Intake, contact_id: str, event: Event
) -> None:
    with pytest.raises(NamesNobody):
        await intake.record(event, at(1))
    assert all(row.source == "tests" for row in await rows(engine, tables.events))


def naming(event: Event, **who: str) -> Event:
    return event.model_copy(update={"identities": identities(*who.items())})


@pytest.mark.parametrize(
    "who",
    [
        {"email": "bob@example.com"},
        {"email": "bob@example.com", "phone": "+4930901820"},
        {"email": "alice@example.com", "user": "bob"},
        {"email": "carol@example.com"},
    ],
)
async def test_it_is_the_recipients_whoever_it_names(
    engine: AsyncEngine, intake: Intake, contact_id: str, who: dict[str, str]
) -> None:
    bob = await intake.remember(told("contact.updated", who={"email": "bob@example.com", "user": "bob"}), at(0))
    receipt = await intake.record(naming(said(touch=KEY), **who), at(1))
    assert receipt.contact_id == contact_id
    known_by = await rows(engine, tables.identities, tables.identities.c.contact_id == contact_id)
    assert [(row.kind, row.value) for row in known_by] == [("email", "alice@example.com")]
    assert (await facts_of(engine)).address("email") == "alice@example.com"
    assert all(row.merged_into is None for row in await rows(engine, tables.contacts))
    assert bob.contact_id != contact_id


async def test_nor_by_an_id_of_ours(engine: AsyncEngine, intake: Intake, contact_id: str) -> None:
    bob = await someone(intake, email="bob@example.com")
    receipt = await intake.record(naming(said(touch=KEY), contact=bob, email="alice@example.com"), at(1))
    assert receipt.contact_id == contact_id
    assert all(row.merged_into is None for row in await rows(engine, tables.contacts))


async def test_what_the_recipient_is_known_by_besides_is_learnt(
    engine: AsyncEngine, intake: Intake, contact_id: str
) -> None:
    known = naming(said(touch=KEY), email="alice@example.com", customerio="cio_1")
    assert (await intake.record(known, at(1))).contact_id == contact_id
    assert (
        await intake.record(told("page.viewed", who={"customerio": "cio_1"}, page="x"), at(1))
    ).contact_id == contact_id


async def test_one_of_no_message_of_ours_is_of_whom_it_names(intake: Intake, contact_id: str) -> None:
    other = await someone(intake, email="bob@example.com")
    receipt = await intake.record(naming(said(touch="another", message_id="m-1"), email="bob@example.com"), at(1))
    assert receipt.contact_id == other


async def test_a_bounce_is_of_the_address_it_names(engine: AsyncEngine, intake: Intake, contact_id: str) -> None:
    await intake.record(naming(said("message.bounced", touch=KEY, permanent=True), email="old@example.com"), at(1))
    facts = await facts_of(engine)
    assert facts.suppression("gift", "old@example.com") and not facts.suppression("gift", "alice@example.com")


async def test_a_bounce_is_of_the_recipients_address(engine: AsyncEngine, intake: Intake, contact_id: str) -> None:
    await intake.record(said("message.bounced", provider_id="reward-1", permanent=True), at(1))
    assert (await facts_of(engine)).suppression("gift", "alice@example.com") is not None


async def test_a_repeat_is_one(engine: AsyncEngine, intake: Intake, contact_id: str) -> None:
    told = said(provider_id="reward-1")
    assert [(await intake.record(told, at(n))).result for n in (1, 2)] == ["stored", "repeat"]


async def test_another_error_is_another(intake: Intake) -> None:
    with pytest.raises(InvalidEvent) as caught:
        await intake.record(said().model_copy(update={"identities": identities(("contact", "nobody's"))}), at(1))
    assert not isinstance(caught.value, NamesNobody)


async def test_the_provider_is_found_by_an_index(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
        query = "EXPLAIN SELECT key FROM touches WHERE provider = 'x' AND provider_id = 'y'"
        plan = "\n".join((await conn.execute(sa.text(query))).scalars())
    assert "touches_at_provider" in plan
