"""An event's whole effect is one transaction, whoever sends it, however often, and whatever comes at the same time."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import facts as facts_module
from contacts import intake as intake_module
from contacts import runs as runs_module
from contacts import store, tables
from contacts.claims import Gate
from contacts.events import Event, Identity, InvalidEvent
from contacts.facts import Facts
from contacts.intake import Intake, Receipt
from contacts.policy import Policy
from contacts.routing import Plan
from contacts.segments import counted
from tests.contacts.support import (
    START,
    a_run,
    an_ask,
    at,
    claim,
    facts_of,
    happening,
    rows,
    somebody_waits,
    someone,
    told,
)

ALICE = {"email": "alice@example.com"}
BOB = {"email": "bob@example.com"}

EVERYTHING = (
    tables.contacts, tables.identities, tables.events, tables.runs, tables.dispatches, tables.journal, tables.handoffs,
)  # fmt: skip


async def contents(engine: AsyncEngine) -> dict[str, list[Any]]:
    return {table.name: await rows(engine, table) for table in EVERYTHING}


async def record(intake: Intake, event: Event, arrives: Any = None) -> Receipt:
    return await intake.record(event, arrives or event.occurred_at)


async def open_runs(engine: AsyncEngine, journey: str | None = None) -> list[Any]:
    found = await rows(engine, tables.runs, tables.runs.c.exited_at.is_(None))
    return [r for r in found if journey in (None, r.journey)]


async def test_an_event_makes_a_contact_and_starts_what_it_triggers(engine: AsyncEngine, intake: Intake) -> None:
    event = told("checkout.started", who={**ALICE, "user": "u-1"}, checkout_id="c-1", topic="soil", id="d-1")
    receipt = await record(intake, event, at(0.1))
    assert receipt.result == "stored"
    assert [(s.journey, s.key) for s in receipt.plan.starts] == [("abandoned-checkout", "c-1")]
    [stored] = await rows(engine, tables.events)
    assert (stored.source, stored.source_id, stored.type) == ("tests", "d-1", "checkout.started")
    assert (stored.occurred_at, stored.received_at) == (START, at(0.1))
    assert stored.contact_id == receipt.contact_id
    [run] = await rows(engine, tables.runs)
    assert (run.journey, run.key, run.contact_id) == ("abandoned-checkout", "c-1", receipt.contact_id)
    assert (run.entered_at, run.started_at) == (START, at(0.1))
    assert run.workflow_id == f"journey/abandoned-checkout/{receipt.contact_id}/c-1"
    [dispatch] = await rows(engine, tables.dispatches)
    assert (dispatch.run_id, dispatch.kind) == (run.id, "start")
    assert dispatch.payload["entry"]["id"] == stored.id
    assert dispatch.payload["entry"]["data"] == stored.data == {"checkout_id": "c-1", "topic": "soil", "items": []}
    assert (await facts_of(engine, "u-1")).contact_id == receipt.contact_id


async def test_twenty_at_once_of_the_same_event_have_the_effect_of_one(engine: AsyncEngine, intake: Intake) -> None:
    event = told("checkout.started", checkout_id="c-1", id="same")
    visit = told("page.viewed", page="pricing", id="visit")
    receipts = await asyncio.gather(*(record(intake, event) for _ in range(20)))
    assert sorted(r.result for r in receipts) == ["repeat"] * 19 + ["stored"]
    once = await contents(engine)
    assert {name: len(found) for name, found in once.items()} == {
        "contacts": 1, "identities": 1, "events": 1, "runs": 1, "dispatches": 1, "journal": 2, "handoffs": 0,
    }  # fmt: skip
    assert (await record(intake, event, at(9))).result == "repeat"
    assert await contents(engine) == once
    await asyncio.gather(*(record(intake, visit) for _ in range(20)))
    assert (await facts_of(engine)).score.points == pytest.approx(41)


async def test_the_same_occurrence_told_of_two_people_is_still_one(engine: AsyncEngine, intake: Intake) -> None:
    both = [told("purchase.completed", who=who, id="same", order_id="o") for who in (ALICE, BOB)]
    receipts = await asyncio.gather(*(record(intake, e) for e in both))
    assert sorted(r.result for r in receipts) == ["repeat", "stored"]
    assert len(await rows(engine, tables.contacts)) == 1


async def test_events_at_once_about_somebody_new_make_one_contact(engine: AsyncEngine, intake: Intake) -> None:
    whose = [
        {"email": "alice@example.com"},
        {"email": "alice@example.com", "user": "u-1"},
        {"user": "u-1", "email": "alice@example.com"},
        {"anonymous": "browser", "email": "alice@example.com"},
    ]
    await asyncio.gather(*(record(intake, told("page.viewed", who=who, page="blog")) for who in whose * 5))
    assert len(await rows(engine, tables.contacts)) == 1
    assert len(await rows(engine, tables.events)) == 20
    assert {(i.kind, i.value) for i in await rows(engine, tables.identities)} == {
        ("email", "alice@example.com"),
        ("user", "u-1"),
        ("anonymous", "browser"),
    }
    assert (await facts_of(engine)).score.points == pytest.approx(20)


async def test_a_visitor_who_gives_a_name_keeps_what_they_did(engine: AsyncEngine, intake: Intake) -> None:
    browser = {"anonymous": "browser"}
    await record(intake, told("page.viewed", who=browser, page="blog", topic="soil"))
    before = await facts_of(engine, "browser")
    await record(intake, told("contact.identified", at(1), who={**browser, **ALICE}, email="alice@example.com"))
    after = await facts_of(engine)
    assert after.contact_id == before.contact_id
    assert after.get("topic") == "soil"
    assert after.entry is not None
    assert after.entry.value["type"] == "page.viewed"


async def test_two_people_at_one_computer_stay_two(engine: AsyncEngine, intake: Intake) -> None:
    browser = {"anonymous": "library"}
    for who in (ALICE, BOB, ALICE):
        await record(intake, told("contact.identified", who={**browser, **who}, **who))
    assert len(await rows(engine, tables.contacts)) == 2
    assert (await facts_of(engine, "library")).contact_id == (await facts_of(engine)).contact_id
    assert (await facts_of(engine, "bob@example.com")).get("email") == "bob@example.com"


@pytest.mark.parametrize("step", ["route", "save", "journal"])
async def test_what_fails_leaves_nothing(
    engine: AsyncEngine, intake: Intake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await record(intake, told("checkout.started", checkout_id="c-1"))
    before = await contents(engine)
    event = told("purchase.completed", at(1), who={**ALICE, "user": "new"}, order_id="o", checkout_id="c-1")

    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("seeded")

    with monkeypatch.context() as broken:
        match step:
            case "route":
                broken.setattr(intake_module, "route", fails)
            case "save":
                broken.setattr(store, "save", fails)
            case "journal":
                # The very last thing a purchase does: the run of the next journey is entered.
                broken.setattr(runs_module, "enter", fails)
        with pytest.raises(RuntimeError, match="seeded"):
            await record(intake, event)
    assert await contents(engine) == before
    assert (await record(intake, event)).result == "stored"
    assert [e.outcome for e in await rows(engine, tables.runs, tables.runs.c.journey == "abandoned-checkout")] == [
        "converted"
    ]


async def test_an_event_of_a_type_we_do_not_know_is_stored_and_routed_nowhere(
    engine: AsyncEngine, intake: Intake
) -> None:
    receipt = await record(intake, told("garden.watered", litres=7))
    assert receipt.plan == Plan()
    [stored] = await rows(engine, tables.events)
    assert stored.data == {"litres": 7}
    assert await rows(engine, tables.dispatches) == []


async def test_an_event_that_names_nobody_is_refused(engine: AsyncEngine, intake: Intake) -> None:
    with pytest.raises(InvalidEvent, match="identities: none that can name a contact"):
        await record(intake, told("page.viewed", who={}, page="blog"))
    with pytest.raises(InvalidEvent, match=r"identities\.contact: no contact '9c1c'"):
        await record(intake, told("page.viewed", who={"contact": "9c1c"}, page="blog"))
    assert all(found == [] for found in (await contents(engine)).values())


@pytest.mark.parametrize("junk", [{"note": "\ud800"}, {"note": float("nan")}])
async def test_what_no_database_can_hold_is_refused_in_one_line(
    engine: AsyncEngine, intake: Intake, junk: dict[str, Any]
) -> None:
    with pytest.raises(InvalidEvent) as refused:
        await record(intake, told("custom.note", **junk))
    assert "\n" not in str(refused.value)
    assert await rows(engine, tables.events) == []


async def test_an_older_event_never_undoes_a_newer_one(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("contact.updated", at(5), email="new@example.com", first_name="Alice"), at(5))
    await record(intake, told("consent.withdrawn", at(5), channel="email"), at(5))
    await record(intake, told("ticket.solved", at(5), ticket_id="7"), at(5))
    settled = await facts_of(engine)
    await record(intake, told("contact.updated", at(1), email="old@example.com", first_name="Al"), at(6))
    await record(intake, told("consent.granted", at(1), channel="email"), at(6))
    await record(intake, told("ticket.opened", at(1), ticket_id="7"), at(6))
    now = await facts_of(engine)
    assert now.profile == settled.profile
    assert now.consents == settled.consents
    assert now.active_holds(at(6)) == ()


async def test_a_late_trigger_after_its_exit_starts_nothing(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("purchase.completed", at(2), order_id="o", checkout_id="c-1"), at(2))
    receipt = await record(intake, told("checkout.started", at(1), checkout_id="c-1"), at(3))
    assert [(s.journey, s.reason) for s in receipt.plan.skips] == [
        ("abandoned-checkout", "already ended by purchase.completed")
    ]
    assert await open_runs(engine, "abandoned-checkout") == []


async def test_a_late_checkout_is_ended_by_an_order_under_another_name(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("purchase.completed", at(2), who=BOB, order_id="o", checkout_id="c-1"), at(2))
    await record(intake, told("checkout.started", at(1), checkout_id="c-1"), at(3))
    assert await open_runs(engine, "abandoned-checkout") == []


@pytest.mark.parametrize("order_first", [True, False])
async def test_trap_a_checkout_is_over_by_its_order_though_the_browser_says_it_began_after(
    engine: AsyncEngine, intake: Intake, order_first: bool
) -> None:
    order = told("purchase.completed", at(0), order_id="o", checkout_id="c-1")
    started = told("checkout.started", at(0.1), checkout_id="c-1")
    for event in (order, started) if order_first else (started, order):
        await record(intake, event, at(0.2))
    assert await open_runs(engine, "abandoned-checkout") == []


async def test_an_order_of_another_checkout_is_none_of_one_that_began_after(
    engine: AsyncEngine, intake: Intake
) -> None:
    await record(intake, told("purchase.completed", at(0), order_id="o", checkout_id="c-1"), at(0.2))
    await record(intake, told("checkout.started", at(0.1), checkout_id="c-2"), at(0.2))
    assert [r.key for r in await open_runs(engine, "abandoned-checkout")] == ["c-2"]


async def test_a_late_checkout_is_not_ended_by_the_order_of_somebody_elses(engine: AsyncEngine, intake: Intake) -> None:
    """Alice pays for Bob's basket; her own is still waiting for her, in whatever order we hear of it."""
    await record(intake, told("checkout.started", at(0), who=BOB, checkout_id="bobs"), at(0))
    await record(intake, told("purchase.completed", at(2), order_id="o", checkout_id="bobs"), at(2))
    await record(intake, told("checkout.started", at(1), checkout_id="hers"), at(3))
    assert [r.key for r in await open_runs(engine, "abandoned-checkout")] == ["hers"]


async def test_a_checkout_and_its_order_at_once_under_two_names_leave_nothing_open(
    engine: AsyncEngine, intake: Intake
) -> None:
    for n in range(10):
        who = {"email": f"other-{n}@example.com"}
        await asyncio.gather(
            record(intake, told("checkout.started", at(0), who={"email": f"a-{n}@example.com"}, checkout_id=f"c-{n}")),
            record(intake, told("purchase.completed", at(1), who=who, order_id=f"o-{n}", checkout_id=f"c-{n}")),
        )
    assert [r.key for r in await open_runs(engine, "abandoned-checkout")] == []


async def test_dispatches_are_written_in_the_order_of_what_happens(engine: AsyncEngine, intake: Intake) -> None:
    await someone(intake, when=at(-1))
    await record(intake, told("resource.downloaded", at(0), resource="guide"))
    await record(intake, told("resource.downloaded", at(1), resource="checklist"))
    await record(intake, told("meeting.booked", at(2)))
    [run] = await rows(engine, tables.runs)
    dispatches = await rows(engine, tables.dispatches)
    assert [(d.run_id, d.kind) for d in dispatches] == [(run.id, "start"), (run.id, "event"), (run.id, "exit")]
    assert dispatches[1].payload["data"] == {"resource": "checklist"}
    assert dispatches[2].payload == {"outcome": "converted", "by": "meeting.booked"}
    assert (run.outcome, run.exited_at) == ("converted", at(2))


async def test_a_hold_that_ends_is_written_down_and_told_to_nobody_who_did_not_wait(
    engine: AsyncEngine, intake: Intake
) -> None:
    await record(intake, told("checkout.started", at(0), checkout_id="c-1"))
    [run] = await rows(engine, tables.runs)
    for day, type in ((1, "ticket.opened"), (2, "ticket.opened"), (3, "ticket.solved"), (4, "ticket.solved")):
        await record(intake, told(type, at(day), ticket_id="7"))
    mine = tables.dispatches.c.run_id == run.id
    kinds = [(d.kind, d.payload.get("type")) for d in await rows(engine, tables.dispatches, mine)]
    assert kinds == [("start", None)]
    # Opened again while it was open is no release, and solved again is no second one.
    told_of = [(j.kind, j.data["reason"]) for j in await rows(engine, tables.journal) if j.kind in ("hold", "release")]
    assert told_of == [("hold", "ticket:7"), ("release", "ticket:7")]


async def test_a_bounce_means_the_address_it_names_or_the_one_we_use(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("contact.updated", at(0), email="alice@example.com"))
    await record(intake, told("contact.updated", at(2), email="new@example.com"))
    await record(intake, told("message.bounced", at(1), permanent=True), at(3))
    facts = await facts_of(engine)
    assert set(facts.suppressions) == {"email:alice@example.com"}
    # Without an address of any kind: the one in use. It is written into the event, so that order no longer matters.
    receipt = await record(intake, told("message.bounced", at(4), who={"contact": facts.contact_id}, permanent=True))
    facts = await facts_of(engine)
    assert set(facts.suppressions) == {"email:alice@example.com", "email:new@example.com"}
    [stored] = await rows(engine, tables.events, tables.events.c.id == receipt.event_id)
    assert stored.data["address"] == "new@example.com"


async def test_what_the_facts_say_is_what_all_stored_events_say(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    """Applied again from the table in another order, the events give the contact's facts."""
    story = [
        told("page.viewed", at(3), who={**ALICE, "anonymous": "b"}, page="pricing", topic="soil"),
        told("contact.identified", at(1), email="alice@example.com", first_name="Alice"),
        told("purchase.completed", at(2), order_id="o"),
        told("consent.withdrawn", at(2), channel="email", purpose="promotional"),
        told("message.bounced", at(5), permanent=True),
        told("ticket.opened", at(4), ticket_id="7"),
    ]
    for event in story:
        await record(intake, event, at(6))
    stored = await rows(engine, tables.events)
    replayed = Facts(stored[0].contact_id)
    for row in sorted(stored, key=lambda r: r.occurred_at, reverse=True):
        given = facts_module.addresses([Identity(*pair) for pair in row.identities])
        event = facts_module.Happening(row.id, row.type, row.occurred_at, row.data, given)
        replayed = facts_module.apply(replayed, event, policy)
    replayed = counted(replayed, policy, at(6))
    found = await facts_of(engine)
    assert replayed.score.points == pytest.approx(found.score.points)
    assert {**vars(replayed), "score": None} == {**vars(found), "score": None}


async def test_a_senders_own_field_named_type_does_not_pose_as_ours(engine: AsyncEngine, intake: Intake) -> None:
    event = told("custom.note").model_copy(update={"data": {"type": "purchase.completed", "source": "bank"}})
    await record(intake, event)
    [line] = await rows(engine, tables.journal)
    assert (line.data["type"], line.data["source"]) == ("custom.note", "tests")


# Two who turn out to be one


async def test_a_merge_moves_everything_and_closes_what_is_double(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    gate = Gate(policy, "test")
    people = []
    for n, who in enumerate((ALICE, BOB)):
        await someone(intake, email=who["email"], when=at(n - 5))
        await record(intake, told("resource.downloaded", at(n), who={**who, "user": f"u-{n}"}, resource=f"r-{n}"))
        await record(intake, told("checkout.started", at(n), who=who, checkout_id=f"c-{n}"))
        people.append((await facts_of(engine, who["email"])).contact_id)
    older, younger = people
    [bobs_run] = await rows(
        engine, tables.runs, tables.runs.c.contact_id == younger, tables.runs.c.journey == "welcome"
    )
    async with engine.begin() as conn:
        await conn.execute(
            sa.insert(tables.handoffs).values(
                id=younger, run_id=bobs_run.id, contact_id=younger, journey="welcome", owner="sales", reason="r",
                because_at=START, opened_at=START, tell_by=START, contact_by=START,
            )
        )  # fmt: skip
        values = {"run_id": bobs_run.id, "contact_id": younger, "journey": "welcome", "reason": "r", "at": START}
        await conn.execute(sa.insert(tables.reviews).values(**values, story=[]))
        await claim(gate, conn, an_ask("bobs touch", at(1)), bobs_run.id, younger)

    receipt = await record(intake, told("contact.merged", at(2), who={**ALICE, "user": "u-1"}))

    assert receipt.contact_id == older
    moved = (
        tables.identities, tables.events, tables.runs, tables.touches, tables.handoffs, tables.reviews, tables.journal,
    )  # fmt: skip
    for table in moved:
        assert {r.contact_id for r in await rows(engine, table)} == {older}, table.name
    assert {c.id: c.merged_into for c in await rows(engine, tables.contacts)} == {older: None, younger: older}
    assert (await facts_of(engine, "bob@example.com")).contact_id == older
    assert (await facts_of(engine, younger)).contact_id == older
    # Both were being welcomed: the older contact's run goes on. The two checkouts are two.
    welcomes = {r.id: (r.outcome, r.exited_at) for r in await rows(engine, tables.runs) if r.journey == "welcome"}
    assert welcomes[bobs_run.id] == ("superseded", at(2))
    assert sorted(map(str, welcomes.values())) == sorted(map(str, [("superseded", at(2)), (None, None)]))
    assert {r.key for r in await open_runs(engine, "abandoned-checkout")} == {"c-0", "c-1"}
    last = [d for d in await rows(engine, tables.dispatches) if d.run_id == bobs_run.id][-1]
    assert (last.kind, last.payload) == ("exit", {"outcome": "superseded", "by": "contact.merged"})
    # A run that still calls its contact by the old id finds them, and what they are held to.
    async with engine.begin() as conn:
        again = await claim(gate, conn, an_ask("bobs next", at(2)), bobs_run.id, younger)
    assert (again.facts.contact_id, again.status, again.reason) == (older, "dropped", "exited")


async def test_a_refusal_survives_a_merge(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("consent.granted", at(0), channel="email"))
    await record(intake, told("consent.withdrawn", at(1), who=BOB, channel="email"))
    await record(intake, told("contact.merged", at(2), who={**ALICE, "user": "u"}))
    joined = told("contact.identified", at(3), who={"user": "u", **BOB})
    await record(intake, joined)
    word = (await facts_of(engine)).consent("email", "promotional")
    assert word is not None
    assert word.granted is False


async def test_an_exit_under_one_name_ends_the_run_under_the_other_once_they_are_one(
    engine: AsyncEngine, intake: Intake
) -> None:
    await someone(intake)
    await record(intake, told("resource.downloaded", at(0), resource="guide"))
    await record(intake, told("page.viewed", at(0), who={**BOB, "user": "u"}, page="blog"))
    await record(intake, told("contact.merged", at(1), who={**ALICE, "user": "u"}))
    assert len(await open_runs(engine, "welcome")) == 1
    await record(intake, told("meeting.booked", at(2), who=BOB))
    assert await open_runs(engine, "welcome") == []


async def test_merges_at_once_in_every_order_make_one(engine: AsyncEngine, intake: Intake) -> None:
    people = [{"email": f"p{n}@example.com"} for n in range(4)]
    others = [{"user": f"u{n}"} for n in range(4)]
    for person, other in zip(people, others, strict=True):
        await record(intake, told("page.viewed", who={**person, **other}, page="pricing"))
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    # Half name them by address, half by user: no lock on a name keeps two of these apart.
    merges = [
        told("contact.merged", at(1), who={**(people[a] if n % 2 else others[a]), "phone": f"+49309018{n:02}",
             **({"email": f"p{b}@example.com"} if n % 2 == 0 else {"user": f"u{b}"})})
        for n, (a, b) in enumerate(pairs)
    ]  # fmt: skip
    await asyncio.gather(*(record(intake, e) for e in merges))
    alive = [c for c in await rows(engine, tables.contacts) if c.merged_into is None]
    assert len(alive) == 1
    assert {i.contact_id for i in await rows(engine, tables.identities)} == {alive[0].id}
    assert {e.contact_id for e in await rows(engine, tables.events)} == {alive[0].id}
    # Each visit counts once, however often two people were found to be one.
    assert (await facts_of(engine, alive[0].id)).score.points == pytest.approx(4 * 41)


async def test_a_merge_that_another_has_overtaken_counts_nothing_twice(engine: AsyncEngine, intake: Intake) -> None:
    """Two transactions find the same two people under different names, and the second waits for the first."""
    await record(intake, told("page.viewed", who={**ALICE, "user": "a"}, page="pricing"))
    await record(intake, told("page.viewed", who={**BOB, "user": "b"}, page="pricing"))
    first = told("contact.merged", at(1), who={**ALICE, "user": "b"})
    second = told("contact.merged", at(1), who={"user": "a", **BOB})
    overtaken = None
    async with engine.begin() as conn:
        await intake.record_in(conn, first, at(1))
        overtaken = asyncio.create_task(record(intake, second))
        await somebody_waits(engine)
    receipt = await overtaken
    assert receipt.result == "stored"
    assert (await facts_of(engine)).score.points == pytest.approx(82)
    assert receipt.contact_id == (await facts_of(engine)).contact_id
    [merged] = [c for c in await rows(engine, tables.contacts) if c.merged_into is not None]
    assert merged.merged_into == receipt.contact_id


async def test_deadlocks_are_survived(engine: AsyncEngine, intake: Intake) -> None:
    """Orders of each other's checkouts lock two people in opposite orders."""
    for n in range(6):
        for who, key in ((ALICE, f"a-{n}"), (BOB, f"b-{n}")):
            await record(intake, told("checkout.started", at(0), who=who, checkout_id=key))
    await asyncio.gather(
        *(
            record(intake, told("purchase.completed", at(1), who=who, order_id=f"{who}{n}", checkout_id=f"{key}-{n}"))
            for n in range(6)
            for who, key in ((ALICE, "b"), (BOB, "a"))
        )
    )
    assert len([e for e in await rows(engine, tables.events) if e.type == "purchase.completed"]) == 12
    assert await open_runs(engine, "abandoned-checkout") == []


async def test_a_contacts_id_cannot_be_borrowed(engine: AsyncEngine, intake: Intake) -> None:
    """A sender who calls a user by Alice's contact id does not stand in for her."""
    alice = await someone(intake)
    await record(intake, told("page.viewed", who={"user": alice, **BOB}, page="blog"))
    assert (await facts_of(engine, alice)).get("email") == "alice@example.com"
    await record(intake, told("consent.withdrawn", at(1), who={"contact": alice}, channel="email"))
    word = (await facts_of(engine)).consent("email", "promotional")
    assert word is not None
    assert not word.granted


async def test_find_knows_ids_addresses_and_nobody(engine: AsyncEngine, intake: Intake) -> None:
    alice = await someone(intake)
    async with engine.connect() as conn:
        for text in (alice, f" {alice.upper()} ", "alice@example.com", "Alice@Example.com "):
            assert (await store.find(conn, text)).contact_id == alice
        for text in ("", "bob@example.com", "9c1c", "00000000-0000-0000-0000-000000000000", "%"):
            with pytest.raises(store.NoSuchContact, match="no contact"):
                await store.find(conn, text)
        with pytest.raises(store.NoSuchContact):
            await store.lock(conn, "00000000-0000-0000-0000-000000000000")


async def test_facts_survive_the_database(engine: AsyncEngine, intake: Intake, policy: Policy) -> None:
    story = [
        told("contact.identified", at(1), email="alice@example.com", phone="+4930901820", timezone="Asia/Tokyo"),
        told("purchase.completed", at(2), order_id="o", items=["spade"]),
        told("ticket.opened", at(3), ticket_id="7"),
        told("handoff.opened", at(3), handoff_id="h"),
        told("message.complained", at(4), address="alice@example.com"),
        told("message.replied", at(4)),
        told("contact.erased", at(5)),
    ]
    in_memory = Facts("c")
    for event in story:
        receipt = await record(intake, event)
        assert receipt.event_id is not None
        happened = facts_module.Happening(receipt.event_id, event.type, event.occurred_at, event.data)
        in_memory = facts_module.apply(in_memory, happened, policy)
    stored = await facts_of(engine)
    assert {**vars(stored), "contact_id": "c"} == vars(counted(in_memory, policy, at(5)))


async def test_what_is_remembered_changes_facts_and_starts_nothing(engine: AsyncEngine, intake: Intake) -> None:
    event = told("resource.downloaded", resource="guide", topic="soil")
    assert (await intake.remember(event, at(1))).result == "stored"
    assert (await intake.remember(event, at(1))).result == "repeat"
    assert (await facts_of(engine)).get("topic") == "soil"
    assert await rows(engine, tables.runs) == []


async def test_the_first_identification_makes_a_contact_new_and_no_other(engine: AsyncEngine, intake: Intake) -> None:
    await record(intake, told("contact.identified", at(0), email="alice@example.com"))
    begun = {run.journey for run in await rows(engine, tables.runs)}
    assert "welcome" in begun
    await record(intake, told("meeting.booked", at(1)))
    later = timedelta(days=400)
    assert (await record(intake, told("contact.identified", START + later, first_name="Alice"))).plan.starts == ()


async def test_a_run_has_one_open_passage(engine: AsyncEngine, intake: Intake) -> None:
    """The table itself refuses a second open run, whatever the code believes."""
    alice = await someone(intake)
    await a_run(engine, alice)
    with pytest.raises(sa.exc.IntegrityError, match="runs_open_once"):
        await a_run(engine, alice)
    await a_run(engine, alice, key="k")


async def test_a_run_is_told_no_names_and_addresses_but_what_things_are_called() -> None:
    said = runs_module.envelope(happening("contact.identified", START, email="a@example.com", name="Ada", topic="seo"))
    assert said["data"] == {"topic": "seo"}
    said = runs_module.envelope(happening("milestone.reached", START, email="a@example.com", name="first order"))
    assert said["data"] == {"name": "first order"}


async def test_a_business_may_set_how_soon_a_journey_begins_anew(
    engine: AsyncEngine, intake: Intake, policy: Policy
) -> None:
    patient = Intake(engine, intake.cards, policy.model_copy(update={"cooldown_days": {"welcome": 400.0}}))
    await record(patient, told("contact.identified", at(0), email="alice@example.com"))
    await record(patient, told("meeting.booked", at(1)))
    again = told("resource.downloaded", at(300), resource="guide")
    skipped = {s.journey: s.reason for s in (await record(patient, again)).plan.skips}
    assert skipped["welcome"] == "re-entry: once in 400 days"
    assert "welcome" in {
        s.journey for s in (await record(intake, told("resource.downloaded", at(301), resource="b"))).plan.starts
    }
