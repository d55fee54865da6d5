"""The histories of every journey replay against the code that made them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import signatures as ask
from contacts.specs import days
from tests.workflows.world import Run, Stage, in_
from worker import _SHARED as SHARED
from workflows.abandoned_checkout import AbandonedCheckout
from workflows.base import Journey
from workflows.nurture import Nurture
from workflows.post_purchase_education import PostPurchaseEducation
from workflows.registry import JOURNEYS
from workflows.welcome import Welcome

MONTH_IN_A_SECOND = days(30) / timedelta(seconds=1)


@pytest.fixture
def journeys() -> list[type[Journey]]:
    return list(JOURNEYS)


def entry(type: str, **data: Any) -> dict[str, Any]:
    return {"id": "entry", "type": type, "occurred_at": datetime.now(UTC).isoformat(), "data": data}


async def test_every_journey_and_its_ends(stage: Stage) -> None:
    ways: dict[type[Journey], dict[str, Any]] = {
        Welcome: entry("contact.identified"),
        Nurture: entry("webinar.attended"),
        AbandonedCheckout: entry("checkout.started", checkout_id="c-1"),
        PostPurchaseEducation: entry("purchase.completed", order_id="o-1"),
    }
    assert set(ways) <= set(JOURNEYS)
    stage.world.handed = ask.HandOffDone("sales", in_(seconds=0.2), 0.1, 1)
    quiet = {cls: await stage.start(cls, entry=e, rate=MONTH_IN_A_SECOND) for cls, e in ways.items()}
    ended = {cls: await stage.start(cls, entry=e, rate=1) for cls, e in ways.items()}
    for run in ended.values():
        await run.handle.signal("pause")
        await run.tell("docs")
        await run.handle.signal("resume")
        await run.exit("converted")
    for cls in ways:
        assert await quiet[cls].outcome() in ("completed", "exhausted")
        assert await ended[cls].outcome() == "converted"
    stage.world.contact = ask.ContactNow(90, True, (), (), "seo")
    handed_over = await stage.start(Nurture, entry=entry("page.viewed", page="pricing"))
    assert await handed_over.outcome() == "completed"

    await replay([*quiet.values(), *ended.values(), handed_over])


async def replay(runs: list[Run]) -> None:
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*SHARED)
    replayer = Replayer(
        workflows=list(JOURNEYS),
        data_converter=pydantic_data_converter,
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
    )
    for run in runs:
        history: WorkflowHistory = await run.handle.fetch_history()
        await replayer.replay_workflow(history)
