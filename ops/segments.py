"""Segments as operators read them: who is in them, what hangs on them, and what may be broadcast to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts import rollouts, store
from contacts.facts import Facts
from contacts.lifecycle import standing
from contacts.policy import Policy, Segment
from contacts.segments import JOINED, LEFT, Condition, conditions
from contacts.specs import Card, Pattern, Trigger
from contacts.tables import contacts
from ops.output import Failure
from ops.shared_columns import CONTACT
from templates.render import Declared, declared

SAMPLE = 10
"""How many members the page of a segment shows."""

GIVEN = frozenset({"brand", "reply_to", "timezone", "unsubscribe_url", "preferences_url"})
"""What every message is told whoever it goes to; what else a template cannot do without, no broadcast can give."""


@dataclass(frozen=True)
class SegmentLine:
    """A segment in a list.

    Attributes:
        decides: What is done differently for its members.
        members: Contacts in it, as they were counted last.
        uncounted: Contacts not counted yet under the present definition; the daily sweep does that.
        used_by: Journey to what it does with the segment: ``starts``, ``ends``, ``waits``, ``only``, ``unless``.
    """

    name: str
    who: str
    decides: str
    members: int
    uncounted: int
    used_by: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SegmentPage:
    """A segment in full: every condition in words, and some of its members."""

    segment: SegmentLine
    conditions: Sequence[str]
    sample: Sequence[str]


@dataclass(frozen=True)
class Membership:
    """Why a contact is in a segment or not.

    Attributes:
        member: Whether they are in it, as they were counted last.
        since: Since when.
        conditions: Each, and whether it holds now; if all do, or one does not any more, and ``member`` says otherwise,
            the contact is about to be counted again.
    """

    name: str
    member: bool
    since: datetime | None
    conditions: Sequence[Condition]


def segment_of(policy: Policy, name: str) -> Segment:
    """The segment of this name.

    Raises:
        Failure: There is none.
    """
    found = next((segment for segment in policy.segments if segment.name == name), None)
    if found is None:
        there = ", ".join(segment.name for segment in policy.segments) or "none in the policy"
        raise Failure(f"no segment {name!r}; there is {there}")
    return found


async def list_segments(
    conn: AsyncConnection, policy: Policy, cards: Sequence[Card], *names: str
) -> Sequence[SegmentLine]:
    """Every segment of the policy, or those of these names."""
    wanted = [segment for segment in policy.segments if not names or segment.name in names]
    if not wanted:
        return []
    counts = [sa.func.count().filter(which) for s in wanted for which in (rollouts.members(s), rollouts.uncounted(s))]
    row = (await conn.execute(sa.select(*counts).where(contacts.c.merged_into.is_(None)))).one()
    return [
        SegmentLine(s.name, s.who, s.decides, row[2 * n], row[2 * n + 1], used_by(s.name, cards))
        for n, s in enumerate(wanted)
    ]


async def segment_page(
    conn: AsyncConnection, policy: Policy, cards: Sequence[Card], name: str, now: datetime
) -> SegmentPage:
    """The page of a segment.

    Raises:
        Failure: There is none of this name.
    """
    segment = segment_of(policy, name)
    [line] = await list_segments(conn, policy, cards, name)
    there = sa.and_(contacts.c.merged_into.is_(None), rollouts.members(segment))
    rows = await conn.execute(sa.select(CONTACT).where(there).order_by(contacts.c.id).limit(SAMPLE))
    somebody = Facts("")
    said = conditions(segment, somebody, standing(somebody, policy, now), policy, now)
    return SegmentPage(line, [condition.says for condition in said], list(rows.scalars()))


async def memberships(conn: AsyncConnection, policy: Policy, contact: str, now: datetime) -> Sequence[Membership]:
    """Every segment, and why the contact is in it or not.

    Raises:
        NoSuchContact: There is none.
    """
    facts = await store.find(conn, contact)
    stands = standing(facts, policy, now)
    return [
        Membership(
            segment.name,
            segment.name in facts.segments,
            facts.segments.get(segment.name),
            conditions(segment, facts, stands, policy, now),
        )
        for segment in policy.segments
    ]


def used_by(name: str, cards: Sequence[Card]) -> Mapping[str, Sequence[str]]:
    """The journeys that hang on a segment, and how."""
    return {card.name: found for card in cards if (found := list(_uses(name, card)))}


def _uses(name: str, card: Card) -> Iterator[str]:
    for how, triggers in (("starts", card.trigger), ("ends", (*card.exits, *card.success)), ("waits", card.hears)):
        if any(_speaks_of(trigger, name) for trigger in triggers):
            yield how
    for how, flags in (("only", card.only), ("unless", card.unless)):
        if f"in:{name}" in flags:
            yield how


def _speaks_of(trigger: Trigger, name: str) -> bool:
    what = trigger.what if isinstance(trigger, Pattern) else trigger
    return any(what.matches(type, {"segment": name}) for type in (JOINED, LEFT))


def message_for_all(template: str, purpose: str) -> Declared:
    """The template, if it can be broadcast for this purpose.

    Raises:
        Failure: It does not exist, is no message to contacts, is of another purpose, or must be told what is not
            known of everybody.
    """
    found = next((d for d in declared() if d.name == template), None)
    if found is None:
        raise Failure(f"there is no template {template!r}: see templates/messages")
    if found.channel not in ("email", "sms"):
        raise Failure(
            f"{template} is a {found.channel} that a colleague sees to: a broadcast goes out by e-mail or SMS"
        )
    if found.purpose != purpose:
        raise Failure(f"{template} is {found.purpose} and the broadcast {purpose}: see --purpose")
    if missing := sorted(n for n, need in found.context.items() if need.fallback is None and n not in GIVEN):
        raise Failure(f"{template} must be told {', '.join(missing)}, which a broadcast does not know of everybody")
    return found
