"""What names only a payment is of whoever paid; and a bill that goes to somebody else makes nobody the same."""

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors import stripe_events
from connectors.stripe import Stripe, StripeSettings
from contacts import tables
from contacts.engagement import last_sign
from contacts.events import NamesNobody
from contacts.inbox import Inbox
from contacts.intake import Intake
from ops import retry
from tests.contacts.support import START, at, facts_of, rows, told
from tests.gateway.support import Stopped
from tests.workflows.world import eventually

SESSION = {
    "id": "cs_1",
    "mode": "payment",
    "payment_status": "paid",
    "customer": "cus_1",
    "customer_details": {"email": "alice@example.com"},
    "payment_intent": "pi_1",
    "amount_total": 4900,
    "currency": "eur",
}
CHARGE = {
    "id": "ch_2",
    "customer": "cus_1",
    "amount": 4900,
    "amount_refunded": 900,
    "currency": "eur",
    "payment_intent": "pi_2",
    "receipt_email": None,
    "billing_details": {"email": "accounts@acme.example.com", "phone": "+4930901820"},
}
DISPUTE = {"id": "dp_1", "charge": "ch_2", "payment_intent": "pi_2", "amount": 4900, "currency": "eur"}
REFUND = {"id": "re_1", "charge": "ch_2", "payment_intent": "pi_2", "amount": 900, "status": "failed"}

_numbers = count(1)


def notice(type: str, object: dict[str, Any], **envelope: Any) -> bytes:
    created = int(START.timestamp())
    body = {"id": f"evt_{next(_numbers)}", "type": type, "created": created, "data": {"object": object}, **envelope}
    return json.dumps(body).encode()


async def heard(intake: Intake, type: str, object: dict[str, Any], hours: int = 0) -> str:
    """Records what the notice says; whose it is."""
    [event] = stripe_events.read(notice(type, object))
    contact_id = (await intake.record(event, at(hours=hours))).contact_id
    assert contact_id is not None
    return contact_id


@pytest.mark.parametrize(
    ("paid", "about"),
    [
        (("checkout.session.completed", SESSION), {"payment_intent": "pi_1", "charge": "ch_1"}),
        (("checkout.session.completed", SESSION), {"payment_intent": "pi_1", "charge": None}),
        (("charge.succeeded", CHARGE), {"payment_intent": "pi_2"}),
        (("charge.succeeded", CHARGE), {"payment_intent": None}),
        (("charge.refunded", CHARGE), {"payment_intent": None}),
    ],
)
@pytest.mark.parametrize(
    ("type", "object"), [("charge.dispute.created", DISPUTE), ("refund.failed", REFUND), ("refund.created", REFUND)]
)
async def test_it_is_the_payers(
    intake: Intake, paid: tuple[str, dict[str, Any]], about: dict[str, Any], type: str, object: dict[str, Any]
) -> None:
    alice = await heard(intake, *paid)
    assert await heard(intake, type, {**object, **about}, hours=1) == alice


async def test_a_guests_charge_without_an_address_is_of_who_checked_out(intake: Intake) -> None:
    guest = {**SESSION, "customer": None}
    alice = await heard(intake, "checkout.session.completed", guest)
    bare = {**CHARGE, "customer": None, "billing_details": None, "payment_intent": "pi_1"}
    assert await heard(intake, "charge.succeeded", bare) == alice
    assert await heard(intake, "charge.dispute.created", {**DISPUTE, "payment_intent": None}) == alice


async def test_it_goes_where_the_payer_went(intake: Intake) -> None:
    await heard(intake, "charge.succeeded", CHARGE)
    first = (await intake.record(told("page.viewed", who={"user": "u-1"}, page="x"), START)).contact_id
    await intake.record(told("contact.merged", who={"user": "u-1", "stripe": "cus_1"}), START)
    kept = (await intake.record(told("page.viewed", who={"user": "u-1"}, page="x"), START)).contact_id
    assert first is not None
    assert await heard(intake, "charge.dispute.created", DISPUTE) == kept


async def test_of_another_payment_or_another_sender_it_is_nobodys(intake: Intake) -> None:
    await heard(intake, "charge.succeeded", CHARGE)
    with pytest.raises(NamesNobody):
        await heard(intake, "charge.dispute.created", {**DISPUTE, "charge": "ch_3", "payment_intent": "pi_3"})
    with pytest.raises(NamesNobody):
        await heard(intake, "charge.dispute.created", {**DISPUTE, "charge": None, "payment_intent": None})
    with pytest.raises(NamesNobody):
        await intake.record(told("custom.dispute", who={}, charge="ch_2", payment_intent="pi_2"), START)


async def test_whoever_it_names_is_meant(intake: Intake) -> None:
    alice = await heard(intake, "charge.succeeded", CHARGE)
    bob = {**DISPUTE, "evidence": {"customer_email_address": "bob@example.com"}}
    assert await heard(intake, "charge.dispute.created", bob, hours=1) != alice
    # What names nobody again is of whom the payment was first said to be.
    assert await heard(intake, "charge.dispute.closed", DISPUTE, hours=2) == alice


async def test_a_dispute_that_comes_before_its_payment_is_found_later(engine: AsyncEngine, intake: Intake) -> None:
    inbox, source = Inbox(intake), Stripe(StripeSettings(_env_file=None))  # type: ignore[call-arg]
    body = notice("charge.dispute.created", DISPUTE)
    given = {"method": "POST", "url": "https://hub.example.com/webhooks/stripe", "headers": {}, "body": body}
    kept = await inbox.accept("stripe", parse=lambda: stripe_events.read(body), now=START, **given)  # type: ignore[arg-type]
    await inbox.understand(kept.inbox_id, lambda: stripe_events.read(body), at(hours=1))
    assert [row.status for row in await rows(engine, tables.inbox)] == ["nobody"]
    alice = await heard(intake, "charge.succeeded", CHARGE)

    reading = asyncio.create_task(retry.read_what_is_left(inbox, {"stripe": source}, Stopped(start=at(3))))

    async def read() -> bool:
        return [row.status for row in await rows(engine, tables.inbox)] == ["parsed"]

    try:
        await eventually(read)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    [dispute] = await rows(engine, tables.events, tables.events.c.type == "custom.stripe_dispute")
    assert dispute.contact_id == alice


async def test_what_nobody_told_in_days_is_left(intake: Intake) -> None:
    inbox, body = Inbox(intake), notice("charge.dispute.created", DISPUTE)
    given = {"method": "POST", "url": "https://hub.example.com/webhooks/stripe", "headers": {}, "body": body}
    kept = await inbox.accept("stripe", parse=lambda: stripe_events.read(body), now=START, **given)  # type: ignore[arg-type]
    assert await inbox.nobodys(START) == []
    await inbox.understand(kept.inbox_id, lambda: stripe_events.read(body), at(hours=1))
    assert await inbox.nobodys(START) == [kept.inbox_id]
    assert await inbox.nobodys(START + timedelta(seconds=1)) == []


async def test_a_payment_is_no_sign_of_life_and_brings_nobody_here(engine: AsyncEngine, intake: Intake) -> None:
    await heard(intake, "charge.succeeded", CHARGE)
    facts = await facts_of(engine, "cus_1")
    assert (last_sign(facts), facts.entry) == (None, None)


@pytest.mark.parametrize(
    ("type", "object"),
    [
        ("charge.succeeded", CHARGE),
        ("charge.refunded", CHARGE),
        (
            "payment_method.attached",
            {"id": "pm_1", "customer": "cus_1", "card": {}, "billing_details": CHARGE["billing_details"]},
        ),
    ],
)
async def test_who_gets_the_bill_is_nobody_else(
    engine: AsyncEngine, intake: Intake, type: str, object: dict[str, Any]
) -> None:
    accountant = {"email": "accounts@acme.example.com", "phone": "+4930901820"}
    await intake.record(told("consent.withdrawn", who=accountant, channel="email"), START)
    boss = await heard(intake, "customer.created", {"id": "cus_1", "email": "boss@acme.example.com"})
    assert await heard(intake, type, object) == boss
    assert [row.merged_into for row in await rows(engine, tables.contacts)] == [None, None]
    [stored] = await rows(
        engine, tables.events, tables.events.c.source == "stripe", tables.events.c.type != "contact.updated"
    )
    assert (stored.data["email"], stored.data["phone"]) == tuple(accountant.values())


async def test_the_payer_is_found_by_an_index(engine: AsyncEngine, intake: Intake) -> None:
    alice = await heard(intake, "charge.succeeded", CHARGE)
    many = """
        INSERT INTO events (id, source, source_id, type, occurred_at, received_at, contact_id, identities, data)
        SELECT gen_random_uuid(), 'stripe', n::text, 'payment.succeeded', now(), now(), :alice, '[]',
               jsonb_build_object('charge', 'ch_n' || n, 'payment_intent', 'pi_n' || n)
        FROM generate_series(1, 5000) n"""
    explain = """
        EXPLAIN SELECT contact_id FROM events
        WHERE source = 'stripe' AND (data @> :by_intent OR data @> :by_charge) ORDER BY received_at, id LIMIT 1"""
    named = {"by_intent": {"payment_intent": "pi_n7"}, "by_charge": {"charge": "ch_n7"}}
    as_json = [sa.bindparam(name, type_=JSONB) for name in named]
    async with engine.begin() as conn:
        await conn.execute(sa.text(many), {"alice": alice})
        await conn.execute(sa.text("ANALYZE events"))
        await conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join((await conn.execute(sa.text(explain).bindparams(*as_json), named)).scalars())
    assert "events_data" in plan
