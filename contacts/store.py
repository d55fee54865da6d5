"""Contacts in the database: find, lock, create, save, merge.

Locking a contact's row is what orders everything about the contact: an event being applied and a touch being claimed
never overlap.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import journal, runs, tables
from contacts.events import Identity, InvalidEvent, NamesNobody
from contacts.facts import Facts, merge
from contacts.identity import Owner, Resolution, resolve
from contacts.specs import Card
from contacts.tables import contacts, identities

_FACTS = TypeAdapter(Facts)

_OF_A_CONTACT = (
    tables.identities, tables.events, tables.runs, tables.touches, tables.handoffs, tables.approvals, tables.reviews,
    tables.journal,
)  # fmt: skip


def read_facts(document: Mapping[str, Any]) -> Facts:
    """The facts in a row's document."""
    return _FACTS.validate_python(document)


class NoSuchContact(LookupError):
    """No contact has this id or identity."""


async def lock(conn: AsyncConnection, contact_id: str) -> Facts:
    """Locks the contact's row until the transaction ends and returns its facts. Follows merges.

    Raises:
        NoSuchContact: There is none.
    """
    while True:
        query = sa.select(contacts.c.facts, contacts.c.merged_into).where(contacts.c.id == contact_id)
        # The weaker lock (FOR NO KEY UPDATE): what refers to the contact, such as a line of its journal, need not wait.
        row = (await conn.execute(query.with_for_update(key_share=True))).one_or_none()
        if row is None:
            raise NoSuchContact(f"no contact {contact_id}")
        if row.merged_into is None:
            return read_facts(row.facts)
        contact_id = row.merged_into


async def lock_names(conn: AsyncConnection, names: Iterable[str]) -> None:
    """Makes every other transaction that wants one of these names wait until this one ends."""
    for name in sorted(set(names)):
        await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


async def find(conn: AsyncConnection, text: str) -> Facts:
    """The contact with this id, or else with an identity of this value (an e-mail address, a vendor's id).

    Raises:
        NoSuchContact: There is none.
    """
    wanted = text.strip()
    # An id comes first: a sender who calls a user by somebody's contact id must not stand in for that contact.
    contact_id = await _existing(conn, wanted)
    if contact_id is None:
        query = sa.select(identities.c.contact_id).where(identities.c.value.in_([wanted, wanted.lower()]))
        contact_id = (await conn.execute(query.limit(1))).scalar_one_or_none()
    while contact_id is not None:
        by_id = sa.select(contacts.c.facts, contacts.c.merged_into).where(contacts.c.id == contact_id)
        row = (await conn.execute(by_id)).one()
        if row.merged_into is None:
            return read_facts(row.facts)
        contact_id = row.merged_into
    raise NoSuchContact(f"no contact {wanted!r}")


async def _existing(conn: AsyncConnection, text: str) -> str | None:
    try:
        contact_id = str(UUID(text))
    except ValueError:
        return None
    query = sa.select(contacts.c.id).where(contacts.c.id == contact_id)
    return (await conn.execute(query)).scalar_one_or_none()


async def identities_of(conn: AsyncConnection, contact_id: str, kind: str) -> list[str]:
    """The contact's identities of a kind."""
    mine = sa.and_(identities.c.contact_id == contact_id, identities.c.kind == kind)
    return list((await conn.execute(sa.select(identities.c.value).where(mine).order_by(identities.c.since))).scalars())


async def known_as(conn: AsyncConnection, contact_id: str) -> list[Identity]:
    """Everything the contact is known by, oldest first."""
    mine = sa.select(identities.c.kind, identities.c.value).where(identities.c.contact_id == contact_id)
    return [Identity(*row) for row in await conn.execute(mine.order_by(identities.c.since, identities.c.value))]


async def owners(conn: AsyncConnection, given: Sequence[Identity]) -> dict[Identity, str]:
    """The ids of those who are known by some of these identities."""
    if not given:
        return {}
    pairs = sa.tuple_(identities.c.kind, identities.c.value).in_([(i.kind, i.value) for i in given])
    found = await conn.execute(sa.select(identities.c.kind, identities.c.value, identities.c.contact_id).where(pairs))
    return {Identity(row.kind, row.value): row.contact_id for row in found}


async def be_known_by(conn: AsyncConnection, contact_id: str, given: Identity, now: datetime) -> None:
    """From now on the identity names this contact, unless it names somebody already.

    The caller holds no contact's row: as in ``identify``, the name is locked first.
    """
    if await owners(conn, [given]):
        return
    await lock_names(conn, [f"{given.kind}:{given.value}"])
    kept = (await lock(conn, contact_id)).contact_id
    row = {"kind": given.kind, "value": given.value, "contact_id": kept, "since": now}
    await conn.execute(insert(identities).values(row).on_conflict_do_nothing())


async def recipient(conn: AsyncConnection, provider: str, touch: object, message: object) -> Any | None:
    """The touch a provider speaks of, with its ``key`` and ``contact_id``; None where it has sent none such.

    Args:
        provider: Whoever speaks: of what others have sent, nobody is asked.
        touch: The touch's key, if it is named.
        message: Else the provider's own name for the message.
    """
    touches = tables.touches
    named = touches.c.key == str(touch) if touch else touches.c.provider_id == str(message)
    query = sa.select(touches.c.key, touches.c.contact_id).where(touches.c.provider == provider, named)
    return (await conn.execute(query.limit(1))).one_or_none() if touch or message else None


async def save(conn: AsyncConnection, facts: Facts) -> None:
    """Writes a locked contact's facts back."""
    document = _FACTS.dump_python(facts, mode="json")
    await conn.execute(sa.update(contacts).where(contacts.c.id == facts.contact_id).values(facts=document))


async def identify(
    conn: AsyncConnection,
    given: Sequence[Identity],
    *,
    merging: bool,
    cards: Sequence[Card],
    now: datetime,
    half_life: timedelta,
) -> Facts:
    """Finds or creates the contact the identities name, joins those they prove to be one, and locks the result.

    What one of those who are joined had done ends the runs of the other by their journeys' ``cards``.

    Raises:
        NamesNobody: There is no identity.
        InvalidEvent: ``contact`` names nobody.
    """
    if not given:
        raise NamesNobody("identities", "none that can name a contact")
    # Two events that name a new person at the same moment must not make two contacts. An id of ours names nobody new,
    # and whoever holds the contact's row records events by it: they must not wait for each other.
    await lock_names(conn, (f"{i.kind}:{i.value}" for i in given if i.kind != "contact"))
    resolution = resolve(given, await _owners(conn, given), merging=merging)
    while not await _lock_all(conn, resolution):
        resolution = resolve(given, await _owners(conn, given), merging=merging)
    if resolution.contact_id is None:
        contact_id = str(uuid4())
        facts = Facts(contact_id)
        document = _FACTS.dump_python(facts, mode="json")
        await conn.execute(sa.insert(contacts).values(id=contact_id, created_at=now, facts=document))
    else:
        facts = await lock(conn, resolution.contact_id)
    for gone in resolution.absorb:
        facts = await _absorb(conn, facts, gone, cards, now, half_life)
    rows = [
        {"kind": i.kind, "value": i.value, "contact_id": facts.contact_id, "since": now}
        for i in resolution.attach
        if i.kind != "contact"
    ]
    if rows:
        await conn.execute(insert(identities).on_conflict_do_nothing(), rows)
    return facts


async def _lock_all(conn: AsyncConnection, resolution: Resolution) -> bool:
    """Locks the contacts of a resolution; false if one of them was merged away before we had it."""
    involved = [i for i in (resolution.contact_id, *resolution.absorb) if i is not None]
    return all([(await lock(conn, contact_id)).contact_id == contact_id for contact_id in sorted(involved)])


async def _owners(conn: AsyncConnection, given: Sequence[Identity]) -> dict[Identity, Owner]:
    owner_of = await owners(conn, given)
    for named in (i for i in given if i.kind == "contact"):
        try:
            owner_of[named] = (await find(conn, named.value)).contact_id
        except NoSuchContact as error:
            raise InvalidEvent("identities.contact", str(error)) from None
    if not owner_of:
        return {}
    ids = set(owner_of.values())
    rows = await conn.execute(
        sa.select(contacts.c.id, sa.func.array_agg(sa.func.coalesce(identities.c.kind, "contact")).label("kinds"))
        .select_from(contacts.outerjoin(identities, identities.c.contact_id == contacts.c.id))
        .where(contacts.c.id.in_(ids))
        .group_by(contacts.c.id, contacts.c.created_at)
        .order_by(contacts.c.created_at, contacts.c.id)
    )
    known = {row.id: Owner(row.id, frozenset(row.kinds), n) for n, row in enumerate(rows)}
    return {identity: known[contact_id] for identity, contact_id in owner_of.items()}


async def _absorb(
    conn: AsyncConnection, kept: Facts, gone_id: str, cards: Sequence[Card], now: datetime, half_life: timedelta
) -> Facts:
    gone = await lock(conn, gone_id)
    await runs.end_by_events_of(conn, gone_id, kept.contact_id, cards, now)
    await runs.end_by_events_of(conn, kept.contact_id, gone_id, cards, now)
    ours = {(r.journey, r.key) for r in await runs.known(conn, kept.contact_id) if r.open}
    for run in await runs.known(conn, gone_id):
        if run.open and (run.journey, run.key) in ours:
            # One person is in a journey once; the run of the older contact goes on.
            await runs.end(conn, run, "superseded", None, now)
    first = sa.func.coalesce(tables.events.c.stored_for, tables.events.c.contact_id)
    await conn.execute(sa.update(tables.events).where(tables.events.c.contact_id == gone_id).values(stored_for=first))
    for table in _OF_A_CONTACT:
        await conn.execute(sa.update(table).where(table.c.contact_id == gone_id).values(contact_id=kept.contact_id))
    merged = {"merged_into": kept.contact_id, "merge_act": tables.ACTS.next_value()}
    await conn.execute(sa.update(contacts).where(contacts.c.id == gone_id).values(merged))
    await journal.write(conn, journal.Entry(now, kept.contact_id, "merge", data={"absorbed": gone_id}))
    return merge(kept, gone, half_life)
