"""Who answers a text message is who it went to, and a STOP is one for everybody it could reach at that number."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import respx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.deliver import Deliver
from connectors import http, hubspot_webhooks
from connectors.base import Request
from connectors.twilio import Twilio, TwilioSettings
from contacts import store, tables
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.events import event, identities, identity
from contacts.facts import Facts
from contacts.intake import Intake
from contacts.policy import Policy
from tests.activities.conftest import MORNING
from tests.contacts.support import a_run, somebody_waits

PHONE = "+14155552671"
AS_WRITTEN = "+1 (415) 555-2671"
ACCOUNT = "AC" + "0" * 32
URL = "https://hub.example.com/webhooks/twilio"
MESSAGES = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
MEETING = {"meeting": {"starts_at": "2030-03-05T14:00:00Z"}}


@dataclass
class Texts:
    """Contacts of a CRM, and what Twilio says of them."""

    engine: AsyncEngine
    intake: Intake
    deliver: Deliver
    attempt: ActivityEnvironment
    vendor: respx.MockRouter
    _counter: Any

    async def crm(self, id: str, phone: str = AS_WRITTEN) -> str:
        """A contact of HubSpot's with that phone, who wants text messages; returns their id here."""
        change = {
            "eventId": next(self._counter),
            "objectId": id,
            "occurredAt": int(MORNING.timestamp() * 1000) - 86_400_000,
            "subscriptionType": "contact.propertyChange",
            "propertyName": "phone",
            "propertyValue": phone,
        }
        [known] = hubspot_webhooks.parse(json.dumps([change]).encode(), {})
        contact_id = (await self.intake.record(known, MORNING)).contact_id
        yes = {"channel": "sms", "purpose": "all", "evidence": "form"}
        await self.tell("consent.granted", {"hubspot": id}, at=MORNING - timedelta(hours=1), **yes)
        assert contact_id is not None
        return contact_id

    async def tell(self, type: str, who: Mapping[str, str], *, at: datetime = MORNING, **data: Any) -> str | None:
        source_id = f"told-{next(self._counter)}"
        whose = identities(*who.items())
        told = event(type, source="tests", source_id=source_id, occurred_at=at, identities=whose, data=data)
        return (await self.intake.record(told, at)).contact_id

    async def text(self, contact_id: str, *, minutes: int = 0) -> ask.Delivery:
        """A promotional text message to the contact, from a run of its own."""
        journey, now = f"course-{next(self._counter)}", MORNING + timedelta(minutes=minutes)
        run_id = await a_run(self.engine, contact_id, journey=journey, entered=MORNING)
        return await self.attempt.run(
            self.deliver.deliver,
            ask.DeliverRequest(
                run=ask.RunRef(run_id, contact_id, journey, "greet", now),
                key=f"{run_id}/greet/1",
                template="meeting_reminder",
                channel="sms",
                purpose="promotional",
                asked_at=now,
                context=MEETING,
                entry={"id": "e", "type": "form.submitted", "occurred_at": MORNING.isoformat(), "data": {}},
            ),
        )

    async def twilio(self, *, minutes: int, url: str = URL, **fields: str) -> list[tuple[str, str | None]]:
        """What Twilio tells us: the types of the events, and whose they are."""
        form = {"MessageSid": f"SM{next(self._counter):032}", **fields}
        at = MORNING + timedelta(minutes=minutes)
        heard = self.deliver.senders["sms"].parse(Request("POST", url, {}, urlencode(form).encode()), at)  # type: ignore[attr-defined]
        return [(one.type, (await self.intake.record(one, at)).contact_id) for one in heard]

    async def wrote(self, text: str, *, minutes: int, phone: str = PHONE) -> list[tuple[str, str | None]]:
        return await self.twilio(minutes=minutes, From=phone, To="+4930901800", Body=text)

    async def keys(self) -> list[str]:
        async with self.engine.connect() as conn:
            return list(
                (await conn.execute(sa.select(tables.touches.c.key).order_by(tables.touches.c.asked_at))).scalars()
            )


@pytest.fixture
async def texts(
    engine: AsyncEngine, intake: Intake, policy: Policy, attempt: ActivityEnvironment
) -> AsyncIterator[Texts]:
    # Nothing but the contact's word may stand in the way of a second message.
    free = policy.model_copy(update={"caps": (), "echo_days": 0})
    settings = TwilioSettings(
        _env_file=None,  # type: ignore[call-arg]
        account_sid=ACCOUNT,
        auth_token="token",  # type: ignore[arg-type]
        from_number="+4930901800",
        status_callback=URL,
    )
    numbers = count(1)
    async with http.new_client() as client:
        with respx.mock(assert_all_called=False) as vendor:
            vendor.post(MESSAGES).mock(side_effect=lambda _: httpx.Response(201, json={"sid": f"SM-{next(numbers)}"}))
            deliver = Deliver(
                engine, Gate(free, "test"), intake, {"sms": Twilio(settings, client)}, lambda *_: {}, Clock()
            )
            yield Texts(engine, intake, deliver, attempt, vendor, count(1))


async def test_stop_and_start_of_whom_a_crm_gave_a_number_for(texts: Texts) -> None:
    contact = await texts.crm("101")
    assert (await texts.text(contact)).status == "sent"
    assert await texts.wrote("STOP", minutes=1) == [("consent.withdrawn", contact)]
    refused = await texts.text(contact, minutes=2)
    assert (refused.status, refused.reason) == ("dropped", "consent_withdrawn")
    assert await texts.wrote("START", minutes=3) == [("consent.granted", contact)]
    assert (await texts.text(contact, minutes=4)).status == "sent"
    assert await texts.wrote("see you then", minutes=5) == [("message.replied", contact)]


async def test_what_became_of_a_message_is_of_whom_it_went_to(texts: Texts) -> None:
    first, second = await texts.crm("101"), await texts.crm("102")
    for contact in (first, second):
        assert (await texts.text(contact)).status == "sent"
    for key in await texts.keys():
        async with texts.engine.connect() as conn:
            whose = sa.select(tables.touches.c.contact_id).where(tables.touches.c.key == key)
            contact = (await conn.execute(whose)).scalar_one()
        callback = f"{URL}?touch={key.replace('/', '--')}"
        said = await texts.twilio(minutes=1, url=callback, MessageStatus="delivered", To=PHONE)
        assert said == [("message.delivered", contact)]


async def test_a_stop_is_one_for_everybody_with_the_number(texts: Texts) -> None:
    first, second = await texts.crm("101"), await texts.crm("102", phone=PHONE)
    assert first != second
    for contact in (first, second):
        assert (await texts.text(contact)).status == "sent"
    await texts.wrote("STOP", minutes=1)
    for contact in (first, second, await texts.crm("103")):
        delivery = await texts.text(contact, minutes=2)
        assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    await texts.wrote("START", minutes=3)
    for contact in (first, second):
        assert (await texts.text(contact, minutes=4)).status == "sent"
    async with texts.engine.connect() as conn:
        merged = sa.select(tables.contacts.c.id).where(tables.contacts.c.merged_into.is_not(None))
        assert not (await conn.execute(merged)).all()


async def test_a_stop_that_went_to_a_stranger_counts(texts: Texts) -> None:
    """As it did for every contact of a CRM's before messages made their numbers known."""
    [(_, stranger)] = await texts.wrote("STOP", minutes=0)
    contact = await texts.crm("101")
    assert stranger != contact
    assert (await texts.text(contact, minutes=1)).reason == "consent_withdrawn"


async def test_a_no_of_one_with_another_number_stops_nobody_else(texts: Texts) -> None:
    first, second = await texts.crm("101"), await texts.crm("102", phone="+4930901820")
    for contact in (first, second):
        await texts.text(contact)
    await texts.wrote("STOP", minutes=1)
    assert (await texts.text(second, minutes=2)).status == "sent"


async def test_a_number_that_is_no_more_is_so_for_everybody(texts: Texts) -> None:
    first, second = await texts.crm("101"), await texts.crm("102")
    assert (await texts.text(first)).status == "sent"
    [key] = await texts.keys()
    callback = f"{URL}?touch={key.replace('/', '--')}"
    await texts.twilio(minutes=1, url=callback, MessageStatus="undelivered", ErrorCode="30005", To=PHONE)
    assert (await texts.text(second, minutes=2)).reason == "suppressed"


async def test_one_who_had_opted_out_at_the_carrier_may_come_back(texts: Texts) -> None:
    first, second = await texts.crm("101"), await texts.crm("102")
    assert (await texts.text(first)).status == "sent"
    route = texts.vendor.post(MESSAGES)
    route.mock(return_value=httpx.Response(400, json={"code": 21610, "message": "opted out"}))
    assert (await texts.text(second, minutes=1)).status == "failed"
    assert (await texts.text(first, minutes=2)).reason == "consent_withdrawn"
    route.mock(side_effect=lambda _: httpx.Response(201, json={"sid": f"SM-{next(texts._counter)}"}))
    await texts.wrote("START", minutes=3)
    for contact in (first, second):
        assert (await texts.text(contact, minutes=4)).status == "sent"


async def test_a_stop_that_is_being_stored_is_seen(texts: Texts) -> None:
    """A claim for whoever shares the number waits for it, and no message goes out after it was acknowledged."""
    first, second = await texts.crm("101"), await texts.crm("102")
    assert (await texts.text(first)).status == "sent"
    stop = event(
        "consent.withdrawn",
        source="twilio",
        source_id="stop",
        occurred_at=MORNING + timedelta(minutes=1),
        identities=identities(("phone", PHONE)),
        data={"channel": "sms", "purpose": "all"},
    )
    async with texts.engine.begin() as conn:
        await texts.intake.record_in(conn, stop, MORNING + timedelta(minutes=1))
        claiming = asyncio.create_task(texts.text(second, minutes=2))
        await somebody_waits(texts.engine)
    assert (await claiming).reason == "consent_withdrawn"


async def test_a_claim_that_is_ended_for_another_transaction_is_made_again(
    texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two lock both who share the number, in opposite orders."""
    first, second = await texts.crm("101"), await texts.crm("102")
    assert (await texts.text(first)).status == "sent"
    lock, claims, crossing = store.lock, 0, None
    async with texts.engine.connect() as other:
        # It looks for no deadlock while it waits, so that the claim is what finds it and has to end.
        await other.execute(sa.text("SET LOCAL deadlock_timeout = '1h'"))
        await lock(other, first)

        async def cross() -> None:
            await lock(other, second)
            await other.rollback()

        async def crossed(conn: AsyncConnection, contact_id: str) -> Facts:
            nonlocal claims, crossing
            if contact_id == first:
                claims += 1
                if crossing is None:
                    crossing = asyncio.create_task(cross())
                    await somebody_waits(texts.engine)
            return await lock(conn, contact_id)

        monkeypatch.setattr(store, "lock", crossed)
        assert (await texts.text(second, minutes=1)).status == "sent"
        assert crossing is not None
        await crossing
    assert claims == 2
    assert len(texts.vendor.calls) == 2


async def test_an_address_is_of_whoever_a_merge_has_kept(engine: AsyncEngine, texts: Texts) -> None:
    both = {await texts.crm("101"), await texts.crm("102")}
    await texts.tell("contact.merged", {"hubspot": "101", "user": "x"})
    kept = await texts.tell("contact.merged", {"hubspot": "102", "user": "x"})
    [gone] = both - {kept}
    await known_by_phone(engine, gone)
    assert await texts.tell("page.viewed", {"phone": PHONE}, page="x") == kept


async def test_an_address_stays_whose_it_became_meanwhile(engine: AsyncEngine, texts: Texts) -> None:
    contact = await texts.crm("101")
    reply = event(
        "message.replied",
        source="twilio",
        source_id="reply",
        occurred_at=MORNING,
        identities=identities(("phone", PHONE)),
        data={"channel": "sms"},
    )
    async with engine.begin() as conn:
        stranger = (await texts.intake.record_in(conn, reply, MORNING)).contact_id
        naming = asyncio.create_task(known_by_phone(engine, contact))
        await somebody_waits(engine)
    await naming
    assert await texts.tell("page.viewed", {"phone": PHONE}, page="x") == stranger != contact


async def known_by_phone(engine: AsyncEngine, contact_id: str) -> None:
    phone = identity("phone", PHONE)
    assert phone is not None
    async with engine.begin() as conn:
        await store.be_known_by(conn, contact_id, phone, MORNING)
