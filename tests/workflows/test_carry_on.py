"""Between stages a run moves to a fresh history, and takes everything along."""

import asyncio
import inspect
import re
from collections import Counter
from pathlib import Path

from temporalio.client import WorkflowExecutionStatus

from activities import signatures as ask
from tests.workflows.journeys import CountsVisits
from tests.workflows.world import Stage, eventually
from workflows.base import Journey

VISITS = [f"page-{n}" for n in range(200)]


async def test_nothing_is_lost_repeated_or_let_out_in_a_storm(stage: Stage) -> None:
    run = await stage.start(CountsVisits, carry_on_after=12)
    await run.handle.signal("pause")
    for first in range(0, len(VISITS), 20):
        await asyncio.gather(*(run.tell(page, id=page) for page in VISITS[first : first + 20]))
        await run.idle()
    await asyncio.gather(*(run.tell("again", id=page) for page in VISITS))
    await run.tell("last")
    await run.doing("paused by an operator")

    assert (await run.story())["paused"] is True
    assert not stage.world.requests(ask.DeliverRequest)
    await run.handle.signal("resume")
    assert await run.outcome() == "completed"

    counted, thanks = stage.world.requests(ask.DeliverRequest)
    assert Counter(counted.context["pages"]) == Counter(VISITS)
    assert counted.key != thanks.key
    told = {line.seq for line in stage.world.lines}  # a line may be told twice, but none is left out
    assert told == set(range(1, max(told) + 1))
    assert [f.outcome for f in stage.world.requests(ask.FinishRequest)] == ["completed"]

    async def all_runs() -> list[WorkflowExecutionStatus | None]:
        found = stage.client.list_workflows(f"WorkflowId = '{run.handle.id}'")
        statuses = [w.status async for w in found]
        return statuses if WorkflowExecutionStatus.RUNNING not in statuses else []

    ended = Counter(await eventually(all_runs))
    assert ended.pop(WorkflowExecutionStatus.COMPLETED) == 1
    assert ended.pop(WorkflowExecutionStatus.CONTINUED_AS_NEW) >= 2
    assert not ended


def test_what_histories_know_of_changes_to_the_code_keeps_its_name() -> None:
    """A run that waits finds the name in its history: under another, or under none, its code would not fit that."""
    source = Path(inspect.getfile(Journey)).read_text()
    known = {"handoff-answered-by-a-rep", "approval-told-to-a-person", "touches-of-a-stage-that-was-left"}
    assert known <= set(re.findall(r'workflow\.patched\("([a-z-]+)"\)', source))
