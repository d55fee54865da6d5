"""The whole proof, on real engines: what was played finds nothing, and each fault that is seeded is found."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import signatures as ask
from contacts import pauses, tables
from contacts.claims import Gate
from contacts.policy import Outgoing
from ops.installation import Installation
from ops.verify import proof
from ops.verify.deliveries import Delivered, History, compared
from ops.verify.findings import Finding, Repair, Summary
from ops.verify.proof import Proof
from ops.verify.repair import Repairs
from ops.verify.rows import TouchRow
from ops.verify.workflows import Workflows
from settings import Settings
from tests.cli.world import failed, perennial
from tests.contacts.support import a_run, an_ask, changed
from tests.road.conftest import Road, days_in
from tests.workflows.world import eventually
from workflows import search_attributes as attributes
from workflows.registry import CARDS

CARDS_BY_NAME = {card.name: card for card in CARDS}


def here(road: Road, *, later: timedelta = timedelta(0)) -> Installation:
    """The installation, seen so much later: what then has not happened is overdue."""
    clock = replace(road.clock, start=road.clock.start + later)
    return Installation(road.engine, road.policy, clock, Settings())


async def proved(road: Road, **given: Any) -> tuple[list[Finding], Summary]:
    """What the proof finds, and what it looked at."""
    later = given.pop("later", timedelta(0))
    whole = Proof(here(road, later=later), Workflows(await road.client()), CARDS, **given)
    return [finding async for finding in whole.findings()], whole.summary


async def mended(road: Road, findings: Iterable[Finding]) -> list[str]:
    """What a repair says it did."""
    repairs = Repairs(here(road), await road.runs())
    done = [await repairs.mend(finding) for finding in findings]
    return [one.what for one in done if isinstance(one, Repair)]


async def change(road: Road, statement: Any) -> None:
    async with road.engine.begin() as conn:
        await conn.execute(statement)


@pytest.fixture
async def welcomed(road: Road) -> AsyncIterator[Road]:
    """Alice has had her first mail, and her run waits. Everything runs."""
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await road.letters()
        await waiting(road)
        yield road


async def waiting(road: Road) -> Any:
    """Waits until the run sleeps; returns its row."""

    async def look() -> Any:
        [run] = await road.rows(tables.runs)
        return run if run.next_wake is not None else None

    return await eventually(look)


async def test_a_story_as_it_was_played_finds_nothing(welcomed: Road) -> None:
    await welcomed.tell("page.viewed", page="home")
    for later in (timedelta(0), timedelta(minutes=10)):
        findings, summary = await proved(welcomed, later=later)
        assert findings == []
        assert (summary.contacts, summary.runs, summary.claims, summary.touches) == (1, 1, 1, 1)
        assert (summary.histories, summary.histories_gone, summary.open_workflows) == (1, 0, 1)
    await welcomed.tell("meeting.booked")
    await welcomed.ended()
    await welcomed.dispatched()
    for whose in (None, "alice@example.com"):
        findings, summary = await proved(welcomed, later=timedelta(days=1), contact=whose)
        assert findings == []
        assert (summary.contacts, summary.histories, summary.open_workflows) == (1, 1, 0)


async def test_a_run_that_went_on_as_new_is_read_from_its_beginning(road: Road) -> None:
    road.fast(days_in(3, seconds=5))
    async with road.temporal(), road.worker():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        [start] = await road.rows(tables.dispatches)
        payload = {**start.payload, "carry_on_after": 5}
        await change(road, sa.update(tables.dispatches).values(payload=payload))
        async with road.relay():
            await road.letters(2)
        [run] = await road.rows(tables.runs)
        workflows = Workflows(await road.client())
        executions = await workflows.of([run.contact_id])
        assert len(executions) > 1
        findings, summary = await proved(road)
        assert (findings, summary.histories, summary.histories_gone) == ([], 1, 0)
        # Any of them leads to all the others.
        histories = [await workflows.history(run.id, run.workflow_id, [e.execution_id]) for e in executions]
        assert len({len(h.deliveries) for h in histories if h is not None and h.whole}) == 1


async def test_what_temporal_keeps_no_more_is_no_fault(welcomed: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    await welcomed.tell("meeting.booked")
    [run] = await welcomed.ended()
    await closed(welcomed)
    workflows = Workflows(await welcomed.client())
    assert await workflows.history(run.id, run.workflow_id, [str(uuid4())]) is None
    monkeypatch.setattr(Workflows, "of", lambda *_: asyncio.sleep(0, []))
    findings, summary = await proved(welcomed)
    assert (findings, summary.histories, summary.histories_gone) == ([], 0, 1)


# None twice


async def test_two_touches_that_a_provider_knows_by_one_id(road: Road) -> None:
    road.fast(days_in(3, seconds=5))
    async with road.all():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await road.letters(2)
        await road.tell("meeting.booked")
        await road.ended()
        await change(road, sa.update(tables.touches).values(provider_id="<1@example.com>"))
        [finding], _ = await proved(road)
    assert (finding.kind, "<1@example.com>" in finding.what) == ("sent-twice", True)
    assert finding.evidence["touches"].count(",") == len(await road.rows(tables.touches)) - 1


async def test_a_row_that_its_history_contradicts(welcomed: Road) -> None:
    await change(welcomed, sa.update(tables.touches).values(status="unknown"))
    [differs], _ = await proved(welcomed)
    [touch] = await welcomed.rows(tables.touches)
    assert (differs.kind, differs.evidence["touch"]) == ("touch-differs", touch.id)


async def test_a_touch_that_only_one_side_knows(welcomed: Road) -> None:
    [touch] = await welcomed.rows(tables.touches)
    await change(welcomed, sa.update(tables.touches).values(key=f"{touch.run_id}/greet/7"))
    nobody_asked, no_row = sorted((await proved(welcomed))[0], key=lambda f: f.kind, reverse=True)
    assert (nobody_asked.kind, nobody_asked.evidence["touch"]) == ("touch-without-history", touch.id)
    assert (no_row.kind, no_row.evidence["key"]) == ("touch-not-recorded", touch.key)


def test_two_deliveries_of_one_touch_that_both_say_sent() -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    row = TouchRow("t", "k", "alice", "r", "sent", at, 1)

    def found(*deliveries: Delivered, whole: bool = True) -> list[str]:
        history = History("r", whole, frozenset(deliveries))
        return [f.kind for f in compared("alice", history, [row], {"k": row})]

    first = Delivered(5, at, "k", "sent")
    assert found(first) == []
    assert found(first, replace(first, event_id=11)) == ["sent-twice"]
    # A reset copies a history; an attempt that found no answer, or none yet, sent nothing that we know of.
    assert found(first, replace(first)) == []
    assert found(first, replace(first, event_id=11, status="waiting"), replace(first, event_id=12, status=None)) == []
    assert found() == ["touch-without-history"]
    assert found(whole=False) == []


@workflow.defn(name="twice")
class Twice:
    """A journey that asks for one touch two times."""

    @workflow.run
    async def run(self, key: str) -> None:
        for _ in range(2):
            await workflow.execute_activity(ask.DELIVER, {"key": key}, start_to_close_timeout=timedelta(seconds=10))


@activity.defn(name=ask.DELIVER)
async def careless(request: dict[str, str]) -> ask.Delivery:
    """Does not look whether it has been sent already."""
    return ask.Delivery("sent")


async def test_a_touch_that_was_delivered_twice(road: Road) -> None:
    alice = str((await road.tell("consent.granted", channel="email")).contact_id)
    await road.tell("contact.updated", email="alice@example.com")
    run_id = await a_run(road.engine, alice, journey="twice", entered=road.clock.now())
    gate, wanted = Gate(road.policy, "test"), replace(an_ask("k", road.clock.now()), journey="twice")
    async with road.engine.begin() as conn:
        taken = await gate.claim(conn, wanted, run_id=run_id, contact_id=alice, stage="greet")
        await gate.settle(conn, taken.touch_id, "sent", road.clock.now())
        await conn.execute(sa.update(tables.runs).values(ended_at=road.clock.now()))
    async with road.temporal():
        client = await Client.connect(f"127.0.0.1:{road.port}", data_converter=pydantic_data_converter)
        plain: dict[str, Any] = {"task_queue": "twice", "workflow_runner": UnsandboxedWorkflowRunner()}
        async with Worker(client, workflows=[Twice], activities=[careless], **plain):
            whose = TypedSearchAttributes([SearchAttributePair(attributes.CONTACT, alice)])
            given: dict[str, Any] = {"memo": {"run": run_id}, "search_attributes": whose, "task_queue": "twice"}
            await client.execute_workflow("twice", "k", id=f"journey/twice/{alice}", **given)
        [finding], _ = await proved(road)
    assert (finding.kind, finding.evidence["touch"]) == ("sent-twice", taken.touch_id)


# No run without its row, no row without its run


async def test_a_run_that_temporal_never_began(road: Road) -> None:
    async with road.temporal(), road.worker():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        await change(road, sa.update(tables.dispatches).values(done_at=sa.func.now()))  # a lie
        [run] = await road.rows(tables.runs)
        [finding], _ = await proved(road)
        assert (finding.kind, finding.evidence["run"]) == ("run-without-workflow", run.id)
        assert await mended(road, [finding]) == ["its workflow was started"]
        await road.letters()
        await waiting(road)
        assert (await proved(road))[0] == []


async def test_a_run_whose_workflow_is_gone_is_not_begun_anew(road: Road) -> None:
    receipt = await road.tell("contact.updated", email="alice@example.com")
    assert receipt.contact_id is not None
    run_id = await a_run(road.engine, receipt.contact_id, journey="welcome", entered=road.clock.now())
    await change(road, sa.update(tables.runs).values(stage="educate"))
    async with road.temporal():
        [finding], _ = await proved(road)
        assert (finding.kind, finding.evidence["run"]) == ("run-without-workflow", run_id)
        assert await mended(road, [finding]) == ["the run has ended: lost, and is in the review queue"]
        assert (await proved(road))[0] == []
    [review] = await road.rows(tables.reviews)
    assert review.run_id == run_id


async def test_a_workflow_that_no_row_knows(welcomed: Road) -> None:
    [run] = await welcomed.rows(tables.runs)
    [start] = await welcomed.rows(tables.dispatches)
    stray = f"journey/nurture/{run.contact_id}"
    await (await welcomed.runs()).start(str(uuid4()), stray, "nurture", start.payload)
    for whose in (None, "alice@example.com"):
        [finding], _ = await proved(welcomed, contact=whose)
        assert (finding.kind, finding.evidence["workflow"]) == ("workflow-without-run", stray)
    assert await mended(welcomed, [finding]) == []
    await (await welcomed.client()).get_workflow_handle(stray).terminate()


@pytest.mark.parametrize("told", [False, True])
async def test_a_row_that_has_not_ended_with_its_workflow(welcomed: Road, told: bool) -> None:
    [run] = await welcomed.rows(tables.runs)
    await (await welcomed.client()).get_workflow_handle(run.workflow_id).terminate()
    if told:
        await welcomed.tell("meeting.booked")
    [finding], _ = await proved(welcomed)
    assert (finding.kind, finding.evidence["run"]) == ("run-not-ended", run.id)
    assert "terminated" in finding.what
    said = "the run has ended: " + ("converted" if told else "terminated, and is in the review queue")
    assert await mended(welcomed, [finding]) == [said]
    assert (await proved(welcomed))[0] == []
    [run] = await welcomed.rows(tables.runs)
    assert run.outcome == ("converted" if told else "terminated")


async def test_a_workflow_that_has_not_ended_with_its_row(welcomed: Road) -> None:
    ended = {"ended_at": welcomed.clock.now(), "outcome": "exited"}
    await change(welcomed, sa.update(tables.runs).values(**ended))
    assert (await proved(welcomed))[0] == []  # it may be about to
    [finding], _ = await proved(welcomed, later=timedelta(minutes=10))
    assert finding.kind == "workflow-not-ended"
    assert await mended(welcomed, [finding]) == ["its workflow was told to end"]
    await closed(welcomed)
    assert (await proved(welcomed, later=timedelta(minutes=10)))[0] == []


async def closed(road: Road) -> None:
    """Waits until the workflow of the only run is closed."""
    [run] = await road.rows(tables.runs)
    async with asyncio.timeout(30):
        await (await road.client()).get_workflow_handle(run.workflow_id).result()


async def test_an_exit_that_a_run_has_not_heard(road: Road) -> None:
    async with road.temporal(), road.worker():
        async with road.relay():
            await road.consent()
            await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
            await road.letters()
            await waiting(road)
        await road.tell("meeting.booked")
        [late], _ = await proved(road, later=timedelta(minutes=10))
        assert late.kind == "dispatch-stuck"
        await change(road, sa.update(tables.dispatches).values(done_at=sa.func.now()))  # a lie
        [finding], _ = await proved(road, later=timedelta(minutes=10))
        assert finding.kind == "exit-not-heard"
        assert await mended(road, [finding]) == ["its workflow was told to end"]
        [run] = await road.ended()
        assert run.outcome == "converted"
        await closed(road)
        assert (await proved(road, later=timedelta(minutes=10)))[0] == []


# Nothing waits for which nobody asks


async def another_touch(road: Road, *, status: str, stage: str, ago: timedelta = timedelta(0)) -> str:
    """A touch of Alice's run besides her mail, as the gate let it out or had it wait; returns its id."""
    [run] = await road.rows(tables.runs)
    gate, then = Gate(road.policy, "test"), road.clock.now() - ago
    wanted = replace(an_ask(f"{run.id}/{stage}/7", then, channel="note", purpose="transactional"), journey="welcome")
    async with road.engine.begin() as conn:
        taken = await gate.claim(conn, wanted, run_id=run.id, contact_id=run.contact_id, stage=stage)
        assert taken.status == "claimed"
        if status == "waiting":
            await gate.release(conn, taken.touch_id, "busy")
    return taken.touch_id


async def status_of(road: Road, touch_id: str) -> tuple[str, str | None]:
    [touch] = [row for row in await road.rows(tables.touches) if row.id == touch_id]
    return touch.status, touch.reason


@pytest.mark.parametrize(
    ("status", "settled", "said"),
    [
        ("claimed", ("unknown", "no answer from the provider"), "the touch is settled as unknown"),
        ("waiting", ("dropped", "stage_left"), "the touch is dropped"),
    ],
)
async def test_a_touch_of_a_stage_that_was_left(
    welcomed: Road, status: str, settled: tuple[str, str], said: str
) -> None:
    run = await waiting(welcomed)
    now = timedelta(0)
    touch = await another_touch(welcomed, status=status, stage="elsewhere", ago=timedelta(minutes=4))
    if status == "claimed":
        assert (await proved(welcomed))[0] == []  # its call may be on its way
        now = timedelta(minutes=2)
    for whose in (None, "alice@example.com"):
        [finding], _ = await proved(welcomed, later=now, contact=whose)
        assert (finding.kind, finding.evidence["touch"], finding.contact_id) == (
            "touch-unanswered" if status == "claimed" else "touch-forgotten",
            touch,
            run.contact_id,
        )
    assert await mended(welcomed, [finding]) == [said]
    assert await status_of(welcomed, touch) == settled
    assert (await proved(welcomed, later=now))[0] == []
    assert await mended(welcomed, [finding]) == ["it was settled meanwhile"]


@pytest.mark.parametrize("status", ["claimed", "waiting"])
async def test_a_touch_that_a_run_which_is_over_left_open(welcomed: Road, status: str) -> None:
    run = await waiting(welcomed)
    touch = await another_touch(welcomed, status=status, stage=run.stage)
    await welcomed.tell("meeting.booked")
    await welcomed.ended()
    await closed(welcomed)
    await change(
        welcomed, sa.update(tables.touches).where(tables.touches.c.id == touch).values(status=status, settled_at=None)
    )
    [finding], _ = await proved(welcomed, later=timedelta(minutes=6))
    assert finding.evidence == {"touch": touch, "run": run.id}
    assert len(await mended(welcomed, [finding])) == 1
    settled = ("unknown", "no answer from the provider") if status == "claimed" else ("dropped", "exited")
    assert await status_of(welcomed, touch) == settled
    assert (await proved(welcomed, later=timedelta(minutes=6)))[0] == []


@pytest.mark.parametrize("status", ["claimed", "waiting"])
async def test_a_touch_of_which_nothing_was_heard_for_an_hour(welcomed: Road, status: str) -> None:
    """Its run may ask again: nothing is decided for it."""
    run = await waiting(welcomed)
    touch = await another_touch(welcomed, status=status, stage=run.stage)
    assert (await proved(welcomed, later=timedelta(minutes=59)))[0] == []
    [finding], _ = await proved(welcomed, later=timedelta(minutes=61))
    assert finding.kind == ("touch-unanswered" if status == "claimed" else "touch-forgotten")
    assert await mended(welcomed, [finding]) == []
    assert (await status_of(welcomed, touch))[0] == status


async def test_a_touch_whose_time_is_to_come_and_one_that_an_operator_keeps_back(welcomed: Road) -> None:
    run = await waiting(welcomed)
    touch = await another_touch(welcomed, status="waiting", stage=run.stage)
    soon = welcomed.clock.now() + timedelta(hours=3)
    await change(welcomed, sa.update(tables.touches).where(tables.touches.c.id == touch).values(wait_until=soon))
    assert (await proved(welcomed, later=timedelta(hours=3, minutes=59)))[0] == []
    assert [f.kind for f in (await proved(welcomed, later=timedelta(hours=4, minutes=1)))[0]] == ["touch-forgotten"]
    for order, stage, kinds in (
        ("resume", run.stage, ["touch-forgotten"]),
        ("pause", run.stage, []),
        # Of a stage that was left nobody asks any more, whether the run rests or not.
        ("pause", "another", ["touch-forgotten"]),
    ):
        async with welcomed.engine.begin() as conn:
            await pauses.steer(conn, order, welcomed.clock.now(), tables.runs.c.id == run.id)
        await welcomed.dispatched()
        await change(welcomed, sa.update(tables.touches).where(tables.touches.c.id == touch).values(stage=stage))
        assert [f.kind for f in (await proved(welcomed, later=timedelta(hours=4, minutes=1)))[0]] == kinds


async def test_a_run_that_is_moved_on_leaves_no_touch_behind(road: Road) -> None:
    async with road.all():
        await road.consent()
        await road.tell("ticket.opened", ticket_id="7")
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")

        async def held() -> Any:
            return [touch for touch in await road.rows(tables.touches) if touch.status == "waiting"]

        [touch] = await eventually(held)
        [run] = await road.rows(tables.runs)
        handle = (await road.client()).get_workflow_handle(run.workflow_id)
        await handle.execute_update("move", CARDS_BY_NAME["welcome"].stages[-1])

        async def moved() -> bool:
            [run] = await road.rows(tables.runs)
            return bool(run.stage != touch.stage)

        await eventually(moved)
        assert await status_of(road, touch.id) == ("dropped", "stage_left")
        assert (await proved(road))[0] == []


@pytest.mark.parametrize("type", ["delivered", "opened", "clicked", "replied"])
async def test_a_touch_that_reached_its_contact_though_its_row_says_no(welcomed: Road, type: str) -> None:
    [touch] = await welcomed.rows(tables.touches)
    await welcomed.tell(f"message.{type}", channel="email", touch=touch.key)
    for _ in range(2):
        await welcomed.tell("message.delivered", channel="email", touch="another")
    await welcomed.dispatched()
    for status in ("sent", "unknown", "claimed", "waiting", "dropped", "failed"):
        await change(welcomed, sa.update(tables.touches).values(status=status, reason="so it is"))
        found = [f for f in (await proved(welcomed))[0] if f.kind == "touch-went-out"]
        assert [f.evidence["touch"] for f in found] == (
            [touch.id] if status in ("waiting", "dropped", "failed") else []
        )
    [event] = [
        row
        for row in await welcomed.rows(tables.events)
        if row.type == f"message.{type}" and "another" not in str(row.data)
    ]
    assert (found[0].evidence["event"], "failed (so it is)" in found[0].what) == (event.id, True)
    later = event.received_at + timedelta(seconds=1)
    assert [f for f in (await proved(welcomed, since=later))[0] if f.kind == "touch-went-out"] == []


# No event without those who are told of it


@pytest.fixture
async def telling(road: Road) -> AsyncIterator[Road]:
    """Klaviyo is told of visits; no worker has told it yet, and Temporal has heard of it."""
    road.policy = changed(road.policy, outgoing=(Outgoing(to="klaviyo", types=("page.viewed",)),))
    road.intake = replace(road.intake, policy=road.policy)
    async with road.temporal():
        await road.tell("page.viewed", page="home")
        async with road.relay():
            await road.dispatched()
        yield road


async def test_a_telling_that_is_on_its_way_or_has_arrived_finds_nothing(telling: Road) -> None:
    assert (await proved(telling, later=timedelta(days=1)))[0] == []
    await change(telling, sa.update(tables.tellings).values(status="told"))
    await change(telling, sa.delete(tables.dispatches))
    assert (await proved(telling, later=timedelta(days=1)))[0] == []


async def test_a_telling_whose_workflow_is_gone_is_told_anew(telling: Road) -> None:
    [row] = await telling.rows(tables.tellings)
    client = await telling.client()
    await client.get_workflow_handle(f"telling/klaviyo/{row.event_id}/1").terminate()
    for whose in (None, "alice@example.com"):
        [finding], _ = await proved(telling, contact=whose)
        assert (finding.kind, finding.evidence["telling"]) == ("telling-stuck", str(row.id))
    assert await mended(telling, [finding]) == ["it is told anew"]
    assert (await client.get_workflow_handle(f"telling/klaviyo/{row.event_id}/2").describe()).status is not None
    [row] = await telling.rows(tables.tellings)
    assert (row.status, row.round) == ("waiting", 2)
    assert (await proved(telling))[0] == []
    await change(telling, sa.update(tables.tellings).values(status="told"))
    assert await mended(telling, [finding]) == ["it was told meanwhile"]


@pytest.mark.parametrize("other", [{}, {"round": 1}, {"telling": 77}])
async def test_a_telling_that_temporal_was_never_to_hear_of(telling: Road, other: dict[str, int]) -> None:
    """Or only of another, or of an earlier round of it."""
    payload = {**(await telling.rows(tables.dispatches))[0].payload, **other}
    if other:
        await change(telling, sa.update(tables.dispatches).values(payload=payload))
        await change(telling, sa.update(tables.tellings).values(round=2))
    else:
        await change(telling, sa.delete(tables.dispatches))
    [finding], _ = await proved(telling)
    assert (finding.kind, "never to hear" in finding.what) == ("telling-stuck", True)
    assert await mended(telling, [finding]) == ["it is told anew"]
    assert (await proved(telling))[0] == []


async def test_a_telling_that_temporal_has_not_heard_of_yet_is_a_dispatch_that_is_stuck(telling: Road) -> None:
    await change(telling, sa.update(tables.dispatches).values(done_at=None))
    assert (await proved(telling))[0] == []
    assert [f.kind for f in (await proved(telling, later=timedelta(minutes=10)))[0]] == ["dispatch-stuck"]


# What should have happened by now


async def test_a_run_that_sleeps_past_its_time(welcomed: Road) -> None:
    run = await waiting(welcomed)
    overdue = run.next_wake - welcomed.clock.now() + timedelta(minutes=6)
    [finding], _ = await proved(welcomed, later=overdue)
    assert (finding.kind, finding.evidence["run"]) == ("wake-up-missed", run.id)
    assert await mended(welcomed, [finding]) == []
    assert (await proved(welcomed, later=overdue - timedelta(minutes=2)))[0] == []


async def test_a_dispatch_that_did_not_land(road: Road) -> None:
    async with road.temporal(), road.worker():
        await road.consent()
        await road.tell("resource.downloaded", resource="seo-guide", topic="seo")
        assert (await proved(road))[0] == []  # it may be about to
        [finding], _ = await proved(road, later=timedelta(minutes=10))
        [run] = await road.rows(tables.runs)
        assert (finding.kind, finding.evidence["run"]) == ("dispatch-stuck", run.id)
        assert await mended(road, [finding]) == ["Temporal has been told"]
        await road.letters()


async def test_requests_without_effect(road: Road) -> None:
    page = {"type": "page", "userId": "u-1", "messageId": "m-1", "properties": {"page": "pricing"}}
    request = {"connector": "track", "received_at": road.clock.now(), "method": "POST", "headers": {}}
    kept = {"url": "https://hub.example.com/v1/batch", "body": json.dumps({"batch": [page]}).encode()}
    await change(road, sa.insert(tables.inbox).values(**request, **kept, status="received"))
    await change(road, sa.insert(tables.inbox).values(**request, **kept, status="failed", error="ValueError: no"))
    async with road.temporal():
        assert (await proved(road))[0] == []
        (unread, failed), summary = await proved(road, later=timedelta(minutes=10))
        assert (unread.kind, failed.kind, summary.faults) == ("request-unread", "request-failed", 1)
        assert await mended(road, [unread, failed]) == ["read: 1 events"]
    assert [event.type for event in await road.rows(tables.events)] == ["page.viewed"]


async def test_all_contacts_are_gone_through_in_pages(
    road: Road,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proof.reading, "_PAGE", 2)
    for n in range(5):
        await road.intake.record(strangers_page(road, n), road.clock.now())
    seen: list[tuple[int, int]] = []
    async with road.temporal():
        whole = Proof(here(road), Workflows(await road.client()), CARDS)
        findings = [f async for f in whole.findings(lambda done, total: seen.append((done, total)))]
    assert (findings, whole.summary.contacts) == ([], 5)
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]


def strangers_page(road: Road, n: int) -> Any:
    from contacts.events import event, identities

    who = identities(("anonymous", f"a-{n}"))
    given = {"source": "test", "source_id": str(n), "occurred_at": road.clock.now(), "identities": who}
    return event("page.viewed", **given, data={"page": "home"})


# The command


async def test_the_command(welcomed: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {name: getattr(welcomed.clock, name).isoformat() for name in ("origin", "start")}
    monkeypatch.setenv("PERENNIAL_CLOCK", json.dumps(clock))
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", welcomed.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{welcomed.port}")

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(perennial, "verify", *arguments)

    clean = await run()
    assert (clean.exit_code, clean.stderr) == (0, "")
    assert clean.stdout.splitlines()[-1] == "Found: nothing."

    [run_row] = await welcomed.rows(tables.runs)
    await (await welcomed.client()).get_workflow_handle(run_row.workflow_id).terminate()
    for whose in ([], ["alice@example.com"], ["--since", "1d"], ["--since", "2020-01-01T00:00:00Z"]):
        result = await run(*whose)
        assert (result.exit_code, result.stderr) == (1, "")
        line = result.stdout.splitlines()[0]
        assert line.startswith(f"run-not-ended  {run_row.contact_id}  ")
        assert f"run={run_row.id}" in line
    answer = await run("--repair", "--json")
    finding, repair, summary = (json.loads(line) for line in answer.stdout.splitlines())
    assert answer.exit_code == 1
    assert (finding["kind"], repair["kind"], summary["kind"]) == ("run-not-ended", "repair", "summary")
    assert (summary["found"], summary["faults"]) == ({"run-not-ended": 1}, 1)
    assert (await run()).exit_code == 0
    nobody = await run("nobody@example.com")
    assert (nobody.exit_code, nobody.stderr) == (1, "perennial: no contact 'nobody@example.com'\n")


def test_temporal_out_of_reach_is_one_line(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", database_url)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    assert "is out of reach" in failed("verify", status=1)
    line = failed("verify", "--since", "lately", status=2)
    assert line == "--since 'lately': must be a time with an offset, such as 2026-03-02T09:00:00Z"
