"""A broadcast from the word of an operator to a mail in the mailbox, and every way to hold it on the road."""

import pytest

import settings
from contacts import rollouts, tables
from contacts.intake import Intake
from contacts.policy import Segment
from contacts.specs import Rollout
from ops.installation import Installation
from ops.rollouts import Rollouts, rollout_page
from tests.road.conftest import MORNING, Road
from tests.workflows.world import eventually
from workflows.registry import CARDS

READERS = Segment.model_validate(
    {"name": "readers", "who": "a", "decides": "b", "did": [{"on": "consent.granted"}], "only": ["known"]}
)
NEWS = rollouts.broadcast("news", "readers", "expansion_idea", channel="email", purpose="promotional", valid_days=7)


@pytest.fixture
def road(road: Road) -> Road:
    road.policy = road.policy.model_copy(update={"segments": (READERS,), "quiet_hours": ()})
    road.intake = Intake(road.engine, CARDS, road.policy)
    return road


async def operator(road: Road) -> Rollouts:
    chosen = settings.load().model_copy(update={"task_queue": road.task_queue})
    return Rollouts(Installation(road.engine, road.policy, road.clock, chosen), await road.client())


async def finished(known: Rollouts, what: Rollout) -> None:
    async def look() -> bool:
        return (await known.find(what.name)).stand == "finished"

    await eventually(look)


async def test_a_broadcast_becomes_a_mail_once_however_often_it_is_begun(road: Road) -> None:
    async with road.all():
        await road.consent()
        known = await operator(road)
        await known.begin(NEWS, 60, 1, MORNING)
        [letter] = await road.letters()
        assert letter.recipients == ("alice@example.com",)
        await finished(known, NEWS)
        page = await rollouts.page(road.intake, NEWS, since=MORNING, now=road.clock.now, after=None, limit=10)
        assert page.recorded == 0
        async with road.engine.connect() as conn:
            told = await rollout_page(conn, await known.find("news"))
        assert (told.began, told.messages) == ({"broadcast": 1}, {"sent": 1})
        await road.tell("meeting.booked")
        [run] = await road.ended()
        assert (run.journey, run.key, run.outcome) == ("broadcast", "news", "converted")
    assert len(road.mailbox.letters.list()) == 1


async def test_what_a_ticket_holds_can_be_paused_resumed_and_goes_out(road: Road) -> None:
    async with road.all():
        await road.consent()
        await road.tell("ticket.opened", ticket_id="t")
        known = await operator(road)
        await known.begin(NEWS, 60, 1, MORNING)
        await finished(known, NEWS)

        async def doing(words: str) -> None:
            [run] = [run for run in await road.rows(tables.runs) if run.journey == "broadcast"]
            handle = (await road.client()).get_workflow_handle(run.workflow_id)

            async def look() -> bool:
                return words in (await handle.query("story"))["doing"]

            await eventually(look)

        await doing("expansion_idea waits")
        assert (await known.steer("news", "pause")).runs == 1
        await road.dispatched()
        await road.tell("ticket.solved", ticket_id="t")
        await doing("paused by an operator")
        assert road.mailbox.letters.list() == []
        assert (await known.steer("news", "resume")).runs == 1
        await road.letters()


async def test_what_a_ticket_holds_can_be_stopped(road: Road) -> None:
    async with road.all():
        await road.consent()
        await road.tell("ticket.opened", ticket_id="t")
        known = await operator(road)
        await known.begin(NEWS, 60, 1, MORNING)
        await finished(known, NEWS)
        assert (await known.steer("news", "stop")).runs == 1
        [run] = await road.ended()
        assert run.outcome == "exited"
        await road.tell("ticket.solved", ticket_id="t")
        await road.dispatched()
    assert road.mailbox.letters.list() == []
    assert [touch.status for touch in await road.rows(tables.touches)] in ([], ["dropped"])
