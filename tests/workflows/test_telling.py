"""Telling other systems on a real Temporal: retried until they hear, given up in the end, told again on request."""

import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import signatures as ask
from activities.poll import Poll
from activities.tell import Tell
from connectors.base import Polled, Told
from connectors.errors import ConnectorError, NeverAgain, NobodyThere, TryAgain, Unknown
from contacts import chores, tables, tellings
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.intake import Intake
from contacts.policy import Outgoing
from contacts.relay import Relay
from ops.temporal import TemporalRuns
from tests.contacts.support import START, changed, rows, told
from tests.workflows.world import eventually
from workflows.polling import Polling, PollingInput
from workflows.telling import FOR, Telling, TellingInput


class Erp:
    """A system that hears, or not."""

    name: ClassVar[str] = "erp"

    def __init__(self, *errors: ConnectorError) -> None:
        self.errors = list(errors)
        self.heard: list[Told] = []
        self.asked = 0

    async def tell(self, told: Told) -> str | None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        self.heard.append(told)
        return "erp-1"


@pytest.fixture
def intake(intake: Intake) -> Intake:
    return replace(intake, policy=changed(intake.policy, outgoing=(Outgoing(to="erp", types=("page.viewed",)),)))


@asynccontextmanager
async def telling(client: Client, engine: AsyncEngine, erp: Erp) -> AsyncIterator[Relay]:
    """A worker that tells, and the relay that has it told."""
    queue = f"telling-{uuid4()}"
    acts = Tell(engine, {"erp": erp}, Clock())
    async with Worker(client, task_queue=queue, workflows=[Telling], activities=[acts.tell, acts.give_up]):
        yield Relay(engine, TemporalRuns(client, Clock(), queue))


async def status(engine: AsyncEngine, wanted: str) -> Any:
    async def look() -> Any:
        [row] = await rows(engine, tables.tellings)
        return row if row.status == wanted else None

    return await eventually(look)


async def test_a_system_that_is_away_is_told_when_it_is_back(
    temporal: Client, engine: AsyncEngine, intake: Intake
) -> None:
    soon = timedelta(milliseconds=10)
    erp = Erp(TryAgain("erp", "503", delay=soon), TryAgain("erp", "429", delay=soon))
    async with telling(temporal, engine, erp) as relay:
        receipt = await intake.record(told("page.viewed", page="blog"), START)
        await relay.drain()
        row = await status(engine, "told")
    [heard] = erp.heard
    assert (heard.id, heard.type, heard.data["page"]) == (receipt.event_id, "page.viewed", "blog")
    assert heard.contact_id == receipt.contact_id
    assert heard.known_as("email") == "alice@example.com"
    assert (row.provider_id, erp.asked) == ("erp-1", 3)


async def test_what_will_never_work_is_left_to_a_person_who_may_have_it_told_again(
    temporal: Client, engine: AsyncEngine, intake: Intake
) -> None:
    erp = Erp(NeverAgain("erp", "410 gone"))
    async with telling(temporal, engine, erp) as relay:
        await intake.record(told("page.viewed", page="blog"), START)
        await relay.drain()
        row = await status(engine, "failed")
        assert "410 gone" in row.error
        assert erp.heard == []
        async with engine.begin() as conn:
            await tellings.again(conn, [tables.tellings.c.id == row.id], START)
        await relay.drain()
        assert (await status(engine, "told")).round == 2
    assert len(erp.heard) == 1


async def test_whom_a_system_does_not_know_it_need_not_be_told_of(
    temporal: Client, engine: AsyncEngine, intake: Intake
) -> None:
    erp = Erp(NobodyThere("erp", "knows nobody by any of the contact's names"))
    async with telling(temporal, engine, erp) as relay:
        await intake.record(told("page.viewed", page="blog"), START)
        await relay.drain()
        row = await status(engine, "told")
    assert (row.error, row.provider_id) == ("erp: knows nobody by any of the contact's names", None)


async def test_the_relay_may_ask_twice(temporal: Client, engine: AsyncEngine, intake: Intake) -> None:
    erp = Erp()
    async with telling(temporal, engine, erp) as relay:
        await intake.record(told("page.viewed", page="blog"), START)
        [dispatch] = await rows(engine, tables.dispatches)
        for _ in range(2):
            await relay.client.tell(dispatch.payload)
        await status(engine, "told")
        await relay.client.tell(dispatch.payload)
    assert len(erp.heard) == 1


async def test_nobody_is_told_of_somebody_who_was_erased(temporal: Client, engine: AsyncEngine, intake: Intake) -> None:
    erp = Erp()
    async with telling(temporal, engine, erp) as relay:
        await intake.record(told("page.viewed", page="blog"), START)
        await intake.record(told("contact.erased"), START)
        await relay.drain()
        assert (await status(engine, "told")).error == "the contact was erased"
    assert erp.asked == 0


@pytest.mark.parametrize(("later", "asked"), [(1, 0), (-1, 1)])
async def test_a_yes_is_not_told_after_a_newer_no(
    temporal: Client, engine: AsyncEngine, intake: Intake, later: float, asked: int
) -> None:
    erp = Erp()
    rules = (Outgoing(to="erp", types=("consent.granted",)),)
    intake = replace(intake, policy=changed(intake.policy, outgoing=rules))
    async with telling(temporal, engine, erp) as relay:
        await intake.record(told("consent.granted", channel="email"), START)
        await intake.record(told("message.unsubscribed", START + timedelta(days=later), channel="email"), START)
        await relay.drain()
        row = await status(engine, "told")
    assert (row.error, erp.asked) == ((None if asked else "a newer word is known"), asked)


@pytest.fixture
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    binary = Path(sysconfig.get_path("scripts")) / "temporal-test-server"
    environment = await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter, test_server_existing_path=str(binary)
    )
    async with environment:
        yield environment


async def test_after_days_in_vain_it_is_given_up(time_skipping: WorkflowEnvironment) -> None:
    given_up: list[int] = []
    tried: list[int] = []

    @activity.defn(name=ask.TELL)
    async def in_vain(request: ask.TellRequest) -> str:
        tried.append(request.telling)
        raise Unknown("erp", "no answer")

    @activity.defn(name=ask.GIVE_UP_TELLING)
    async def give_up(request: ask.TellRequest) -> str:
        given_up.append(request.telling)
        return "failed"

    async with Worker(time_skipping.client, task_queue="vain", workflows=[Telling], activities=[in_vain, give_up]):
        given = TellingInput(7, "event-7", 1, "erp", "page.viewed")
        outcome = await time_skipping.client.execute_workflow("telling", given, id="telling/7/1", task_queue="vain")
    assert (outcome, given_up) == ("failed", [7])
    assert 15 < len(tried) < 60
    assert timedelta(days=4) < FOR


class Ledger:
    """A system that is asked."""

    name: ClassVar[str] = "ledger"
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(self) -> None:
        self.cursors: list[str | None] = []
        self.dies = False
        self.fault: str | None = None

    async def poll(self, cursor: str | None, now: object) -> Polled:
        self.cursors.append(cursor)
        page = int(cursor or 0)
        if self.dies and page == 1:
            raise TryAgain("ledger", "503", delay=timedelta(milliseconds=10))
        return Polled(list(self._events(page)), str(page + 1), more=page < 2, fault=self.fault if page < 2 else None)

    def _events(self, page: int) -> Sequence[Any]:
        if page > 2:
            return []
        return [
            event(
                "page.viewed",
                source="ledger",
                source_id=f"{page}-{n}",
                occurred_at=START,
                identities=identities(("email", "alice@example.com")) if n else (),
                data={"page": "blog"},
            )
            for n in range(3)
        ]


async def test_a_system_is_asked_page_by_page_and_never_from_the_beginning_again(
    temporal: Client, engine: AsyncEngine, intake: Intake
) -> None:
    ledger = Ledger()
    poll = Poll(intake, {"ledger": ledger}, Clock())

    async def ask_it(n: int) -> str:
        given = PollingInput("ledger")
        return str(
            await temporal.execute_workflow("polling", given, id=f"polling/{id(ledger)}/{n}", task_queue="ledger")
        )

    async with Worker(temporal, task_queue="ledger", workflows=[Polling], activities=[poll.poll]):
        ledger.dies = True
        with pytest.raises(Exception, match="failed"):
            await ask_it(1)
        assert ledger.cursors == [None, "1", "1", "1"]
        ledger.dies = False
        assert await ask_it(2) == "4 events in 2 pages", "one of each page names nobody"
        assert await ask_it(3) == "0 events in 1 pages"
    assert ledger.cursors[4:] == ["1", "2", "3"]
    assert len([row for row in await rows(engine, tables.events) if row.source == "ledger"]) == 6


async def test_what_a_system_will_not_say_is_a_failure_and_costs_nothing_of_what_it_says(
    temporal: Client, engine: AsyncEngine, intake: Intake
) -> None:
    ledger = Ledger()
    ledger.fault = "deals: 403 MISSING_SCOPES"
    poll = Poll(intake, {"ledger": ledger}, Clock())
    async with engine.begin() as conn:
        await chores.expect(conn, "asking/ledger", timedelta(minutes=5), START)
    async with Worker(temporal, task_queue="in-part", workflows=[Polling], activities=[poll.poll]):
        given = PollingInput("ledger")
        with pytest.raises(WorkflowFailureError) as failed:
            await temporal.execute_workflow("polling", given, id=f"polling/{id(ledger)}", task_queue="in-part")
        assert isinstance(failed.value.cause, ActivityError)
        assert "ledger says only a part: deals: 403 MISSING_SCOPES" in str(failed.value.cause.cause)
        assert ledger.cursors == [None, "1", "2"], "asked to the end, and not again"
        assert len([row for row in await rows(engine, tables.events) if row.source == "ledger"]) == 6
        (chore,) = await rows(engine, tables.chores)
        assert chore.done_at == START, "what was not done is missed, as when nothing was said"
        ledger.fault = None
        await temporal.execute_workflow("polling", given, id=f"polling/{id(ledger)}/2", task_queue="in-part")
    (chore,) = await rows(engine, tables.chores)
    assert chore.done_at > START
