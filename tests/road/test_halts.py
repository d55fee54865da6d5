"""Halts on the whole road: nothing goes out while one is in force, and nothing is lost by it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from connectors.base import Accepted, Message
from connectors.errors import TryAgain
from connectors.recording import Alerted
from connectors.smtp import Smtp
from contacts import holds, pauses, store, tables
from contacts.events import event, identities
from contacts.gate import Pause
from contacts.intake import Intake
from contacts.policy import Breaker
from ops.inspect import Wanted
from ops.installation import Installation
from ops.monitor.watch import Monitor
from ops.pauses import call_pause, end_pause
from ops.steering import find, steer
from settings import Settings
from tests.road.conftest import Road, days_in
from tests.workflows.world import eventually
from workflows.registry import CARDS

JOURNEYS = [card.name for card in CARDS]


def here(road: Road) -> Installation:
    """The installation, as the command line sees it."""
    return Installation(road.engine, road.policy, road.clock, Settings())


async def call(road: Road, what: str, until: datetime | None = None) -> None:
    now = road.clock.now()
    await call_pause(here(road), what, by="Kim", reason="r", until=until, journeys=JOURNEYS, now=now)


async def end(road: Road, what: str) -> int:
    return (await end_pause(here(road), what, "Mia", road.clock.now())).waiting


async def happens(road: Road, name: str, type: str, **data: Any) -> None:
    """Something happens to somebody else than Alice."""
    now, whose = road.clock.now(), identities(("email", f"{name}@example.com"))
    told = event(type, source="test", source_id=str(uuid4()), occurred_at=now, identities=whose, data=data)
    await road.intake.record(told, now)


async def touches(road: Road, wanted: Callable[[Any], bool], number: int = 1) -> list[Any]:
    """Waits until so many touches are as wanted; returns them."""

    async def look() -> list[Any]:
        found = [touch for touch in await road.rows(tables.touches) if wanted(touch)]
        return found if len(found) >= number else []

    found: list[Any] = await eventually(look)
    return found


def settled(touch: Any) -> bool:
    return touch.settled_at is not None


async def nothing_lapsed(road: Road) -> None:
    """Every touch that is settled was sent, or dropped for a reason; the journal says the same; no letter is extra."""
    found = [touch for touch in await road.rows(tables.touches) if settled(touch)]
    lines = [line for line in await road.rows(tables.journal) if line.kind in ("touch", "drop")]
    said = {line.data["touch_id"]: (line.kind, line.data.get("reason")) for line in lines}
    for touch in found:
        assert (touch.status, bool(touch.reason)) in (("sent", False), ("dropped", True))
        assert said[touch.id] == ("touch" if touch.status == "sent" else "drop", touch.reason)
    assert len(road.mailbox.letters.list()) == len([touch for touch in found if touch.status == "sent"])


@pytest.mark.parametrize(
    ("what", "reason", "hold"),
    [
        ("journey/welcome", "paused", "pause:journey/welcome"),
        ("channel/email", "paused", "pause:channel/email"),
        ("all", "paused", "pause:all"),
        ("contact/alice@example.com", "hold_operator", "operator:pause"),
    ],
)
async def test_nothing_goes_out_until_it_ends(road: Road, what: str, reason: str, hold: str) -> None:
    async with road.all():
        await road.consent()
        await call(road, what)
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        [touch] = await touches(road, lambda t: t.status == "waiting")
        assert (touch.reason, touch.hold) == (reason, hold)
        await road.dispatched()
        assert road.mailbox.letters.list() == []
        assert await end(road, what) == 1
        await road.letters()
        await touches(road, settled)
        await nothing_lapsed(road)
    kinds = [line.kind for line in await road.rows(tables.journal)]
    assert kinds.index("wait") < kinds.index("touch")


@pytest.mark.parametrize("what", ["all", "contact/alice@example.com"])
async def test_what_a_contact_needs_goes_out_all_the_same(road: Road, what: str) -> None:
    async with road.all():
        await road.consent()
        await call(road, what)
        await road.tell("invoice.payment_failed", invoice_id="i-1", value=4900, currency="EUR", attempt=1)
        [letter] = await road.letters()
        [touch] = await touches(road, settled)
        assert (touch.purpose, touch.status, touch.subject) == ("transactional", "sent", letter.subject)


async def test_a_halt_for_a_time_ends_by_itself(road: Road) -> None:
    road.fast(days_in(1, seconds=3))
    async with road.all():
        await road.consent()
        until = road.clock.now() + timedelta(days=1)
        await call(road, "journey/welcome", until)
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await road.letters()
        first, *_ = await touches(road, settled)
        assert first.claimed_at >= until
    waits = [d for d in await road.rows(tables.decisions) if d.reason == "paused"]
    assert [(d.until, d.hold) for d in waits] == [(until, "pause:journey/welcome")]


BROADCASTS = {"expansion_idea": 12.0, "winback_useful": 12.0, "browse_followup": 12.0, "reengage_gap": 0.5}
"""Messages that need nobody's data, and for how many days each is worth sending."""


async def test_at_the_end_what_is_stale_is_dropped_and_the_rest_is_no_burst(road: Road) -> None:
    caps = road.policy.caps
    road.fast(days_in(1, seconds=3))
    road.policy = road.policy.model_copy(update={"caps": caps})
    async with road.all():
        await road.consent()
        await call(road, "all")
        for template, valid_days in BROADCASTS.items():
            await road.tell("broadcast.due", broadcast=template, template=template, valid_days=valid_days)
        await touches(road, lambda t: t.hold == "pause:all", 3)
        [stale] = await touches(road, settled)
        assert (stale.template, stale.status, stale.reason) == ("reengage_gap", "dropped", "valid_for")
        assert road.mailbox.letters.list() == []
        await end(road, "all")
        await touches(road, settled, len(BROADCASTS))
        await nothing_lapsed(road)
    sent = sorted(touch.claimed_at for touch in await road.rows(tables.touches) if touch.status == "sent")
    assert len(sent) == 3
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert min(gaps) >= timedelta(days=0.8)


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event, list[Exception]]:
    """Mail is on its way once the first is set, and arrives (or fails, once for each error) when the second is."""
    on_its_way, go_on, errors = asyncio.Event(), asyncio.Event(), list[Exception]()
    real = Smtp.send

    async def send(self: Smtp, message: Message) -> Accepted:
        on_its_way.set()
        await go_on.wait()
        if errors:
            raise errors.pop()
        return await real(self, message)

    monkeypatch.setattr(Smtp, "send", send)
    return on_its_way, go_on, errors


async def test_what_is_on_its_way_arrives_and_nothing_follows(
    road: Road, held_back: tuple[asyncio.Event, asyncio.Event, list[Exception]]
) -> None:
    on_its_way, go_on, _ = held_back
    road.fast(days_in(3, seconds=4))
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        async with asyncio.timeout(30):
            await on_its_way.wait()
        await call(road, "journey/welcome")
        go_on.set()
        await road.letters()
        [held] = await touches(road, lambda t: t.status == "waiting")
        assert (held.template, held.hold) == ("welcome_second", "pause:journey/welcome")
        await nothing_lapsed(road)


async def test_what_a_provider_did_not_take_waits_for_the_end(
    road: Road, held_back: tuple[asyncio.Event, asyncio.Event, list[Exception]]
) -> None:
    on_its_way, go_on, errors = held_back
    errors.append(TryAgain("smtp", "busy"))
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        async with asyncio.timeout(30):
            await on_its_way.wait()
        await call(road, "journey/welcome")
        go_on.set()
        await touches(road, lambda t: t.hold == "pause:journey/welcome")
        assert road.mailbox.letters.list() == []
        await end(road, "journey/welcome")
        await road.letters()
        await touches(road, settled)
        await nothing_lapsed(road)


async def test_a_run_paused_while_its_provider_is_away_waits_until_it_is_resumed(
    road: Road, held_back: tuple[asyncio.Event, asyncio.Event, list[Exception]]
) -> None:
    """The delivery is in its retries, past the run's own look at its pause; and it wakes when it is resumed."""
    on_its_way, go_on, errors = held_back
    errors.append(TryAgain("smtp", "429"))
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        async with asyncio.timeout(30):
            await on_its_way.wait()
        async with road.engine.connect() as conn:
            found = await find(conn, None, Wanted(journey="welcome", open=True))
        await steer(road.engine, found, "pause", road.clock.now())
        go_on.set()
        await touches(road, lambda t: t.hold == "pause:run")
        assert road.mailbox.letters.list() == []
        await steer(road.engine, found, "resume", road.clock.now())
        await road.letters()
        await touches(road, settled)
        await nothing_lapsed(road)


def alerts(road: Road) -> list[str]:
    return [call.title for call in road.recording.calls if isinstance(call, Alerted)]


def guarded(road: Road, **numbers: int) -> None:
    """The breaker trips at these numbers."""
    given = {"window_minutes": 60, "sends": 1000, "entries": 1000, "times_usual": 5, **numbers}
    road.policy = road.policy.model_copy(update={"breaker": Breaker.model_validate(given)})
    road.intake = Intake(road.engine, CARDS, road.policy)


async def enter(road: Road, *names: str) -> None:
    for name in names:
        await happens(road, name, "consent.granted", channel="email")
        await happens(road, name, "resource.downloaded", resource="seo-guide", topic="seo")


async def tripped(road: Road) -> list[Pause]:
    async with road.engine.connect() as conn:
        return list(await pauses.in_force(conn))


async def test_a_burst_of_entries_stops_what_they_would_be_sent_until_a_person_says_so(road: Road) -> None:
    guarded(road, entries=3)
    await enter(road, *"abcdef")
    [halt] = await tripped(road)
    assert halt.reason == "4 entries where 0.0 are usual in 60 minutes"
    async with road.all():
        await touches(road, lambda t: t.hold == "pause:journey/welcome", 6)
        assert road.mailbox.letters.list() == []

        async def asked() -> bool:
            return bool(alerts(road))

        await eventually(asked)
        # A gateway looks at the same time, and again: the person has been told.
        monitor = Monitor(road.engine, road.clock, road.recording)
        assert (await monitor.look()).untold == 0
        await end(road, "journey/welcome")
        await road.letters(6)
        await touches(road, settled, 6)
        await nothing_lapsed(road)
    assert alerts(road) == ["Stopped: journey/welcome"]
    assert await tripped(road) == [], "who was let go does not trip it again"


async def test_a_burst_of_messages_stops_itself_until_a_person_says_so(road: Road) -> None:
    guarded(road, sends=2)
    async with road.all():
        for number, name in enumerate("ab", 1):
            await enter(road, name)
            await road.letters(number)
        await enter(road, *"cde")
        await touches(road, lambda t: t.hold == "pause:journey/welcome", 3)
        assert len(road.mailbox.letters.list()) == 2
        await end(road, "journey/welcome")
        await road.letters(5)
        await touches(road, settled, 5)
        await nothing_lapsed(road)
        assert await tripped(road) == []
        # What enters from now on is a burst of its own.
        await enter(road, *"fghi")
        await touches(road, lambda t: t.hold == "pause:journey/welcome", 2)

        async def asked_again() -> bool:
            return alerts(road) == ["Stopped: journey/welcome"] * 2

        await eventually(asked_again)


async def test_a_halt_does_not_keep_an_exit_from_ending_a_run(road: Road) -> None:
    async with road.all():
        await road.consent()
        await call(road, "all")
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await touches(road, lambda t: t.hold == "pause:all")
        await road.tell("meeting.booked")
        [run] = await road.ended()
        assert run.outcome == "converted"
        assert await end(road, "all") == 0
    [touch] = await road.rows(tables.touches)
    assert (touch.status, touch.reason) == ("dropped", "exited")
    assert road.mailbox.letters.list() == []


async def test_a_contacts_pause_is_kept_as_evidence(road: Road) -> None:
    await road.consent()
    await call(road, "contact/alice@example.com")
    async with road.engine.connect() as conn:
        facts = await store.find(conn, "alice@example.com")
        [held] = await holds.listed(conn)
    assert [hold.name for hold in holds.in_force(facts, road.clock.now())] == [held.hold] == ["operator:pause"]
    await end(road, "contact/alice@example.com")
    told = [row for row in await road.rows(tables.events) if row.type.startswith("hold.")]
    assert [(row.type, row.data["by"], row.data.get("reason")) for row in told] == [
        ("hold.opened", "Kim", "r"),
        ("hold.released", "Mia", None),
    ]
